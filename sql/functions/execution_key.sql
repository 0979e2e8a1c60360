create or replace function pgconductor.execution_key(task text, payload json)
returns text
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select pgconductor.key_of(execution_key.payload, t.key_path)
    from pgconductor.tasks t
    where t.name = execution_key.task and t.key_path is not null
$$;

comment on function pgconductor.execution_key(text, json) is
'Engine. The key of an execution of this task with this payload; null: its task has none.';
