create or replace function pgconductor.edit(id bigint, payload jsonb, priority int default null,
    run_at timestamptz default null, metadata json default null)
returns boolean
language sql volatile
as $$
    select pgconductor.edit(id, payload::text, priority, run_at, metadata)
$$;

comment on function pgconductor.edit(bigint, jsonb, int, timestamptz, json) is
'As edit with a text payload. The payload is stored as jsonb writes it.';
