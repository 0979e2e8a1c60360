create or replace function pgconductor.load_tasks()
returns table (name text, queue text, timeout_ms bigint, keep_complete boolean, keep_fail boolean, max_attempts int,
    paused boolean)
language sql stable
as $$
    select t.name, t.queue, t.timeout_ms, t.keep_complete is null or t.keep_complete <> '0',
        t.keep_fail is null or t.keep_fail <> '0', t.max_attempts, t.paused_at is not null
    from pgconductor.tasks t
$$;

comment on function pgconductor.load_tasks() is
'Engine. What the master must know of each task: home queue, time allowed to an attempt (milliseconds, null: none), whether completed executions, and others, are kept, the attempts it has, and whether it is paused.';
