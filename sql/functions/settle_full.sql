create or replace function pgconductor.settle_full(ids bigint[], xids xid8[], outcomes text[], results json[],
    errors json[], retries boolean[], after_ms bigint[], took_ms int[], node int)
returns int
language plpgsql volatile
as $$
declare
    present constant timestamptz := pgconductor.now();
    n int;
begin
    with verdict as materialized (
        -- again: it stays, to be run later. wait: milliseconds until then.
        select e.id, e.ready_xid, r.outcome, r.result, r.error, r.took_ms,
            r.outcome = 'deferred'
                or r.outcome = 'failed' and coalesce(r.retry, true) and e.attempt + 1 < coalesce(t.max_attempts, 3) as again,
            -- A century at most, so that the time can be written.
            least(coalesce(r.after_ms, pgconductor.backoff(t.backoff_ms, t.backoff_factor, t.backoff_max_ms,
                e.attempt + 1), 15000), 3155760000000) as wait,
            case r.outcome when 'completed' then t.keep_complete else t.keep_fail end as keep
        from unnest(settle_full.ids, settle_full.xids, settle_full.outcomes, settle_full.results, settle_full.errors,
            settle_full.retries, settle_full.after_ms, settle_full.took_ms)
            as r(id, xid, outcome, result, error, retry, after_ms, took_ms)
        -- Not "=", see settle_plain.
        join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
        -- Left: an execution ends even if somebody has removed its task by hand.
        left join pgconductor.tasks t on t.name = e.task
    ), delayed as (
        update pgconductor.executions e
        set ready_xid = case when v.wait <= 0 then pg_current_xact_id() end,
            run_at = present + make_interval(secs => greatest(v.wait, 0) / 1000.0),
            attempt = e.attempt + (v.outcome = 'failed')::int,
            error = coalesce(v.error, e.error)
        from verdict v
        where v.again and e.id between v.id and v.id and e.ready_xid is not distinct from v.ready_xid
        returning e.id
    ), gone as (
        delete from pgconductor.executions e
        using verdict v
        where not v.again and e.id between v.id and v.id and e.ready_xid is not distinct from v.ready_xid
        returning e.id, e.created_at, e.run_at, e.attempt, e.priority, e.awaited, e.queue, e.task, e.payload,
            e.metadata, e.event, v.outcome, v.result, v.error, v.took_ms, v.keep
    ), kept as (
        insert into pgconductor.finished_executions (id, finished_at, created_at, run_at, took_ms, attempt, node,
            priority, state, queue, task, payload, metadata, event, result, error)
        select g.id, present, g.created_at, g.run_at, g.took_ms, g.attempt + 1, settle_full.node,
            g.priority, g.outcome, g.queue, g.task, g.payload, g.metadata, g.event,
            case when g.outcome = 'completed' then g.result end, case when g.outcome <> 'completed' then g.error end
        from gone g
        where g.awaited or g.keep is null or g.keep <> '0'
    ), stopped as (
        delete from pgconductor.running x
        using unnest(settle_full.ids, settle_full.xids) as r(id, xid)
        where x.id between r.id and r.id and x.ready_xid = r.xid
    )
    select (select count(*) from delayed) + (select count(*) from gone) into n;
    return n;
end
$$;

comment on function pgconductor.settle_full(bigint[], xid8[], text[], json[], json[], boolean[], bigint[], int[], int) is
'Engine, on the writer. Writes outcomes of runs: completed (with results), failed (with errors; tried again while attempts remain and retries is not false), deferred (run again without counting the attempt). after_ms: milliseconds to wait before the next attempt, 0 for at once; null: the task''s backoff. Ends what was noted as running. Returns how many were still there. 55P03 or 40P01: a row was locked, nothing was done, use settle_locked. 23514: a day has no partition.';
