create or replace function pgconductor.load_event_schemas(known text)
returns table (digest text, event text, program text, schema json)
language sql stable
as $$
    with said as materialized (
        -- As event_schemas; the handlers of several queues mostly say the same.
        select distinct e.name, e.program, e.schema::text as schema
        from pgconductor.event_types e
        where e.schema is not null and exists (select from pgconductor.tasks t where t.sources ? e.program)
    ), whole as (
        select coalesce(md5(string_agg(md5(concat_ws(E'\n', s.name, s.program, s.schema)), '' order by s.name, s.program, s.schema)), '')
            as digest
        from said s
    )
    select w.digest, s.name, s.program, s.schema::json
    from whole w left join said s on true
    where w.digest <> load_event_schemas.known
    order by s.name, s.program
$$;

comment on function pgconductor.load_event_schemas(text) is
'Engine. The schemas that programs have for events, of all of them, for who holds payloads against them. known: the digest that came with them last, '''' at first; nothing is returned if they are still the same. Are there none any more, it is one row, with digest '''' and no event.';
