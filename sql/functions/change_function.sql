create or replace function pgconductor.change_function(w pgconductor.watches)
returns text
language plpgsql stable
as $$
declare
    rec text;
    parts text[];
    whole text[];
begin
    foreach rec in array array['old', 'new'] loop
        if w.operation = (case rec when 'old' then 'insert' else 'delete' end) then
            parts := parts || 'null'::text;
            whole := whole || 'null'::text;
        elsif w.columns is null then
            parts := parts || format('row_to_json(%s)', rec);
            whole := whole || format('row_to_json(%s)', rec);
        else
            parts := parts || (select format('json_build_object(%s)', string_agg(format('%L, %s.%I', c, rec, c), ', ' order by n))
                from unnest(w.columns) with ordinality as u(c, n));
            whole := whole || format('pgconductor.select_fields(row_to_json(%s), %L)', rec, w.columns);
        end if;
    end loop;
    -- A function takes 100 arguments at most.
    if cardinality(w.columns) > 50 then
        parts := whole;
    end if;
    return format($f$
create function pgconductor.%1$I()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $code$
declare
    present constant timestamptz := pgconductor.now();
    body json;
begin
%2$s    if octet_length(body::text) > 1024 then
        body := pgconductor.fit_change(body, %4$L, %5$L);
    end if;
    -- See emit.
    if to_regclass('pgconductor.events_' || to_char(present at time zone 'UTC', 'YYYYMMDD')) is null then
        perform pgconductor.ensure_partition(present);
    end if;
    insert into pgconductor.events (created_at, key, payload)
    select present, %3$L, body
    from pgconductor.dispatcher d
    where pgconductor.awake(d.node);
    return null;
end
$code$
$f$, 'change_' || w.id,
        case when parts = whole then '' else '    begin
    ' end
        || format(E'    body := json_build_object(''old'', %s, ''new'', %s, ''tg_table'', %L, ''tg_op'', %L);\n',
            parts[1], parts[2], w."table", upper(w.operation))
        || case when parts = whole then '' else format('    -- A column was renamed or dropped, or has another type now: whoever writes to the table is not to fail for it.
    exception when others then
        body := json_build_object(''old'', %s, ''new'', %s, ''tg_table'', %L, ''tg_op'', %L);
    end;
', whole[1], whole[2], w."table", upper(w.operation)) end,
        pgconductor.change_key(w), w."table", upper(w.operation));
end
$$;

comment on function pgconductor.change_function(pgconductor.watches) is
'Engine. The statement that makes a trigger''s function: all it does is to append to events, as the role pgconductor_change.';
