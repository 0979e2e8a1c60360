create or replace function pgconductor.event_schemas(event text)
returns table (program text, schema json)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    -- Of programs that have been taken out of service nobody is left who would care.
    select e.program, e.schema
    from pgconductor.event_types e
    where e.name = event_schemas.event collate "C" and e.schema is not null
        and exists (select from pgconductor.tasks t where t.sources ? e.program)
    order by e.program, e.queue
$$;

comment on function pgconductor.event_schemas(text) is
'The JSON Schemas that payloads of an event have to comply with: those of each program that has said one. SQL does not check that: who emits may, and the workers do.';
