create or replace function pgconductor.key_settings(v jsonb, out path text, out fifo boolean, out "limit" int, out rate jsonb,
    out key_rate jsonb, out fault text)
language plpgsql immutable
as $$
declare
    rates constant jsonb := case jsonb_typeof(v -> 'rate_limit') when 'array' then v -> 'rate_limit'
        when 'object' then jsonb_build_array(v -> 'rate_limit') else '[]' end;
    o record;
begin
    fifo := false;
    rate := (select r from jsonb_array_elements(rates) r where not r ? 'key' limit 1);
    for o in
        select x.option, x.path from (values ('fifo_key', v ->> 'fifo_key'),
            ('concurrency_key', case jsonb_typeof(v -> 'concurrency_key') when 'object' then v -> 'concurrency_key' ->> 'key'
                else v ->> 'concurrency_key' end),
            ('rate_limit', (select r ->> 'key' from jsonb_array_elements(rates) r where r ? 'key' limit 1))) as x(option, path)
        where x.path is not null
    loop
        if o.path <> path then
            fault := format('%s: its key is %L, and another option names %L: a task has one key', o.option, o.path, path);
            continue;
        end if;
        path := o.path;
        case o.option
        when 'fifo_key' then
            fifo := true;
            "limit" := 1;
        when 'concurrency_key' then
            "limit" := least("limit", case jsonb_typeof(v -> 'concurrency_key') when 'object' then (v -> 'concurrency_key' ->> 'limit')::int end);
        else
            key_rate := (select r from jsonb_array_elements(rates) r where r ? 'key' limit 1);
        end case;
    end loop;
    if path is not null and jsonb_typeof(v -> 'batch') = 'object' then
        fault := 'batch: it does not go with a key: concurrency_key, fifo_key, or rate_limit with one';
        path := null;
    end if;
end
$$;

comment on function pgconductor.key_settings(jsonb) is
'Engine. What a task''s options say of keys: the path of its key in the payload (null: none), whether executions of one run in their order, how many at once (null: any number); its rate limits, of all and of each key. fault: options that do not go together; those named in it count for nothing.';
