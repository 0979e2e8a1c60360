create or replace function pgconductor.settle_full(ids bigint[], xids xid8[], outcomes text[], results json[],
    errors json[], retries boolean[], after_ms bigint[], took_ms int[], node int)
returns int
language plpgsql volatile
as $$
declare
    present constant timestamptz := pgconductor.now();
    n int;
begin
    -- One that was ended by force may have a transaction that is still saving a step: the statement after this one sees it.
    if 'failed' = any (settle_full.outcomes) then
        perform from unnest(settle_full.ids, settle_full.xids, settle_full.outcomes) as r(id, xid, outcome)
        cross join lateral (
            -- Not "=", see settle_plain.
            select from pgconductor.executions e
            where e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
            for update) e
        where r.outcome = 'failed';
    end if;

    with asked as materialized (
        -- again: it stays, to be run later. wait: milliseconds until then.
        select e.id, e.ready_xid, r.outcome, r.result, r.error, r.took_ms,
            r.outcome = 'deferred'
                or r.outcome = 'failed' and coalesce(r.retry, true) and e.attempt + 1 < coalesce(t.max_attempts, 3) as again,
            -- A century at most, so that the time can be written.
            least(coalesce(r.after_ms, pgconductor.backoff(t.backoff_ms, t.backoff_factor, t.backoff_max_ms,
                e.attempt + 1), 15000), 3155760000000) as wait,
            case r.outcome when 'completed' then t.keep_complete else t.keep_fail end as keep, e.expires_at
        from unnest(settle_full.ids, settle_full.xids, settle_full.outcomes, settle_full.results, settle_full.errors,
            settle_full.retries, settle_full.after_ms, settle_full.took_ms)
            as r(id, xid, outcome, result, error, retry, after_ms, took_ms)
        join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
        -- Left: an execution ends even if somebody has removed its task by hand.
        left join pgconductor.tasks t on t.name = e.task
    ), verdict as materialized (
        -- Nothing begins after the time allowed in all.
        select a.id, a.ready_xid, a.wait, a.keep, a.result, a.took_ms, a.again and not x.late as again,
            case when a.again and x.late then 'failed' else a.outcome end as outcome,
            case when a.again and x.late then json_build_object('code', 'timeout',
                'message', 'the time it may take in all ends before another attempt could begin', 'cause', a.error)
                else a.error end as error
        from asked a
        cross join lateral (select coalesce(a.expires_at < present + greatest(a.wait, 0) * interval '1 ms', false) as late) x
    ), delayed as (
        update pgconductor.executions e
        set ready_xid = case when v.wait <= 0 then pg_current_xact_id() end,
            run_at = present + make_interval(secs => greatest(v.wait, 0) / 1000.0),
            waiting = null,
            attempt = e.attempt + (v.outcome = 'failed')::int,
            error = coalesce(v.error, e.error),
            begun = case when e.key is not null then true end,
            journal = case when e.journal or exists (
                select from pgconductor.steps s where s.execution between v.id and v.id) then true end
        from verdict v
        where v.again and e.id between v.id and v.id and e.ready_xid is not distinct from v.ready_xid
        returning e.id
    ), gone as (
        delete from pgconductor.executions e
        using verdict v
        where not v.again and e.id between v.id and v.id and e.ready_xid is not distinct from v.ready_xid
        returning e.id, e.created_at, e.run_at, e.attempt, e.priority, e.awaited, e.queue, e.task, e.payload,
            e.metadata, e.event, e.event_at, e.event_kind, e.parent, e.parent_key, e.parent_wait, e.journal, v.outcome, v.result, v.error, v.took_ms, v.keep
    ), kept as (
        insert into pgconductor.finished_executions (id, finished_at, created_at, run_at, took_ms, attempt, node,
            priority, state, queue, task, payload, metadata, event, event_at, event_kind, result, error, parent, steps)
        select g.id, present, g.created_at, g.run_at, g.took_ms, g.attempt + 1, settle_full.node,
            g.priority, g.outcome, g.queue, g.task, g.payload, g.metadata, g.event, g.event_at, g.event_kind,
            case when g.outcome = 'completed' then g.result end, case when g.outcome <> 'completed' then g.error end,
            g.parent, (
                -- kept_steps(), written out: a call takes 4 us.
                select case when sum(coalesce(pg_catalog.pg_column_size(s.result), 0)
                        + coalesce(pg_catalog.pg_column_size(s.error), 0)) <= 67108864
                    then array_agg(row(s.key, s.result, s.error)::pgconductor.step order by s.pos) end
                from pgconductor.steps s
                where s.execution between g.id and g.id and s.due_at is null)
        from gone g
        where g.awaited or g.keep is null or g.keep <> '0'
    ), forgotten as (
        delete from pgconductor.steps s using gone g where s.execution between g.id and g.id
    ), told as (
        -- Who waits for it. Not its row, which only its owner writes, but a wake for that owner; should it be moved
        -- meanwhile, the wake is handed on.
        insert into pgconductor.wakes (execution, wait, shard, key, result, error)
        select p.id, g.parent_wait, p.shard, g.parent_key, case when g.outcome = 'completed' then g.result end,
            case when g.outcome <> 'completed' then coalesce(g.error, '{}') end
        from gone g
        join pgconductor.executions p on p.id between g.parent and g.parent
        join pgconductor.shards h on h.id = p.shard
        where pgconductor.awake(h.owner)
    ), orphaned as (
        -- What nobody waits for any more.
        insert into pgconductor.wakes (execution, wait, shard, error)
        select c.id, c.parent_wait, c.shard, json_build_object('code', 'cancelled', 'message', 'its parent has ended')
        from gone g
        cross join lateral (
            -- Ordered, so that it is looked for by its parent: as a join, a plan that was made while there were no
            -- children would read all of their index.
            select x.id, x.shard, x.parent_wait from pgconductor.executions x
            where x.parent between g.id and g.id
            order by x.parent, x.parent_key
        ) c
        join pgconductor.shards h on h.id = c.shard
        where g.journal and pgconductor.awake(h.owner)
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
'Engine, on the writer. Writes outcomes of runs: completed (with results), failed (with errors; tried again while attempts remain and retries is not false), deferred (run again without counting the attempt). Tells whoever waits for it, and has its unfinished children cancelled; what it has remembered goes to its history. What could only be tried again after its time in all is over has failed, with code timeout. after_ms: milliseconds to wait before the next attempt, 0 for at once; null: the task''s backoff. Ends what was noted as running. Returns how many were still there. 55P03 or 40P01: a row was locked, nothing was done, use settle_locked. 23514: a day has no partition.';
