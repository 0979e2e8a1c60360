create or replace function pgconductor.invoke(task text, payload jsonb, queue text default null,
    priority int default null, run_at timestamptz default null, delay interval default null,
    dedupe_key text default null, dedupe_for interval default null, throttle interval default null,
    debounce interval default null, max_wait interval default null, metadata json default null)
returns bigint
language sql volatile
as $$
    select pgconductor.invoke(task, payload::text, queue, priority, run_at, delay, dedupe_key, dedupe_for, throttle,
        debounce, max_wait, metadata)
$$;

comment on function pgconductor.invoke(text, jsonb, text, int, timestamptz, interval, text, interval, interval, interval, interval, json) is
'As invoke with a text payload.';
