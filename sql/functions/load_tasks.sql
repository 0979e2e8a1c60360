create or replace function pgconductor.load_tasks()
returns table (name text, queue text, timeout_ms bigint, keep_complete boolean)
language sql stable
as $$
    select t.name, t.queue, t.timeout_ms, t.keep_complete is null or t.keep_complete <> '0'
    from pgconductor.tasks t
$$;

comment on function pgconductor.load_tasks() is
'Engine. What the master must know of each task: home queue, time allowed to an attempt (milliseconds, null: none), whether completed executions are kept.';
