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
            parts := parts || format('pg_catalog.row_to_json(%s)', rec);
            whole := whole || format('pg_catalog.row_to_json(%s)', rec);
        else
            parts := parts || (select format('pg_catalog.json_build_object(%s)', string_agg(format('%L, %s.%I', c, rec, c), ', ' order by n))
                from unnest(w.columns) with ordinality as u(c, n));
            whole := whole || format('pgconductor.select_columns(pg_catalog.row_to_json(%s), %L)', rec, w.columns);
        end if;
    end loop;
    -- A function takes 100 arguments at most.
    if cardinality(w.columns) > 50 then
        parts := whole;
    end if;
    -- Its search_path is that of whoever writes: to set one here would cost as much as half of the insert. So everything is
    -- named in full, and so are pgconductor.now, awake and what they call.
    return format($f$
create or replace function pgconductor.%1$I()
returns trigger
language plpgsql security definer
as $code$
declare
    present constant pg_catalog.timestamptz := pgconductor.now();
    body pg_catalog.json;
begin
%2$s    if pg_catalog.octet_length(body::pg_catalog.text) operator(pg_catalog.>) 1024
        -- As in emit; to look for it each time would cost too much.
        or present operator(pg_catalog.>=) pg_catalog.timestamptz %7$L or present operator(pg_catalog.<) pg_catalog.timestamptz %6$L
    then
        body := pgconductor.fit_change(body, %4$L, %5$L);
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
        case when parts = whole then '' else E'    begin\n    ' end
        || pgconductor.change_body(w, parts)
        || case when parts = whole then '' else E'    -- A column was renamed or dropped, or has another type now: whoever writes to the table is not to fail for it.\n'
            || E'    exception when others then\n    ' || pgconductor.change_body(w, whole) || E'    end;\n' end,
        pgconductor.change_key(w), w."table", upper(w.operation),
        to_char(pgconductor.now() at time zone 'UTC', 'YYYY-MM-DD') || ' 00:00:00+00', to_char(w.covered at time zone 'UTC', 'YYYY-MM-DD') || ' 00:00:00+00');
end
$$;

comment on function pgconductor.change_function(pgconductor.watches) is
'Engine. The statement that makes a trigger''s function: all it does is to append to events, as the role pgconductor_change. covered: until when there are partitions for it.';
