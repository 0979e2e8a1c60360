create or replace function pgconductor.schedule(task text, name text, cron text, payload jsonb,
    timezone text default 'UTC', enabled boolean default true, overlap text default 'allow', catchup text default 'skip')
returns timestamptz
language sql volatile
as $$
    select pgconductor.schedule(task, name, cron, payload::text, timezone, enabled, overlap, catchup)
$$;

comment on function pgconductor.schedule(text, text, text, jsonb, text, boolean, text, text) is
'As schedule with a text payload.';
