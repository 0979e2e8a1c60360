create or replace function pgconductor.payload_schema(task text)
returns json
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select v.value::json
    from pgconductor.tasks t
    cross join lateral pgconductor.task_values(t.sources) v
    where t.name = payload_schema.task and v.option = 'payload_schema'
$$;

comment on function pgconductor.payload_schema(text) is
'The JSON Schema that payloads of a task have to comply with; null if there is none. SQL does not check that: who enqueues may, and the worker does.';
