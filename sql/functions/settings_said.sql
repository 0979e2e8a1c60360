create or replace function pgconductor.settings_said(sources jsonb)
returns jsonb
language sql immutable
as $$
    -- false lifts what a lesser source says; of how long to keep history it is itself the value, and of schemas.
    select coalesce(jsonb_object_agg(v.option, v.value), '{}')
    from pgconductor.task_values(settings_said.sources) v
    where v.value <> 'false'
        or v.option in ('remove_on_complete', 'remove_on_fail', 'payload_schema', 'returns_schema')
$$;

comment on function pgconductor.settings_said(jsonb) is
'Engine. Of what the sources say of a task (tasks.sources): the values in effect, without those that were lifted.';
