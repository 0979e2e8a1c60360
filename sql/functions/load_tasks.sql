create or replace function pgconductor.load_tasks()
returns table (name text, queue text, timeout_ms bigint, keep_complete boolean, keep_fail boolean, max_attempts int,
    limited_xid xid8, concurrency int, rate_limit int, rate_ms bigint, rate_burst int, closed boolean, turns_ms bigint, seen text,
    paused boolean, key_path text, key_limit int, key_fifo boolean, key_rate_limit int, key_rate_ms bigint, key_rate_burst int,
    batch_size int, batch_ms bigint)
language sql stable
as $$
    select t.name, t.queue, t.timeout_ms, t.keep_complete is null or t.keep_complete <> '0',
        t.keep_fail is null or t.keep_fail <> '0', t.max_attempts, case when t.limited then t.limited_xid end,
        t.concurrency, t.rate_limit, t.rate_ms, t.rate_burst, not w.open,
        ceil(extract(epoch from w.until - pgconductor.now()) * 1000)::bigint, null::text,
        t.paused_at is not null, array_to_string(t.key_path, '.'), t.key_limit, t.key_fifo, t.key_rate_limit, t.key_rate_ms, t.key_rate_burst,
        t.batch_size, t.batch_ms
    from pgconductor.tasks t
    left join lateral pgconductor.window_state(t.window_opens, t.window_closes, t.window_days, t.window_zone, pgconductor.now()) w
        on t.window_opens is not null
    union all
    select null, null, null, null, null, null, null, null, null, null, null, null, null, pg_catalog.pg_current_snapshot()::text, null,
        null, null, null, null, null, null, null, null
$$;

comment on function pgconductor.load_tasks() is
'Engine. What the master must know of each task: home queue, time allowed to an attempt (milliseconds, null: none), whether completed executions, and others, are kept, the attempts it has, and whether it is paused; if it is limited, since when (limited_xid), to how many at once, and to how many in rate_ms milliseconds, and whether its window is closed (null: it has none), and for how long that stays so; where in the payload its executions have their key, and to how many of each, whether in their order, and to how many in key_rate_ms milliseconds; and how many are handed out at once, and how long the first waits for others. One more row has nothing but the snapshot that it was read with, for obey().';
