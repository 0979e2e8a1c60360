-- Clients call it too: their sessions plan as the writer does while it runs.
create or replace function pgconductor.end_cancelled(ids bigint[], errors json[], direct boolean, out ended bigint[],
    out children bigint[])
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    present constant timestamptz := pgconductor.now();
    notified bigint;
    freed int[];
    quiet constant boolean := current_setting('pgconductor.notify', true) is not distinct from 'off';
begin
    perform pgconductor.ensure_partition(present);
    -- By a statement of its own: the next one sees what was saved while this one waited.
    perform from unnest(end_cancelled.ids) as r(id)
    cross join lateral (
        -- Not "=", see settle_plain.
        select from pgconductor.executions x where x.id between r.id and r.id for update) e;
    with gone as (
        delete from pgconductor.executions e
        using unnest(end_cancelled.ids, end_cancelled.errors) as r(id, error)
        where e.id between r.id and r.id
        returning e.id, e.ready_xid, e.created_at, e.run_at, e.attempt, e.priority, e.awaited, e.queue, e.task,
            e.payload, e.metadata, e.event, e.event_at, e.event_kind, e.shard, e.parent, e.parent_key, e.parent_wait, r.error,
            e.waiting is not distinct from 'suspended' and e.ready_xid is null and e.pending is null as asleep,
            e.waiting is not distinct from 'delayed' and e.run_at > pgconductor.clock_now() as later,
            e.key is not null and e.ready_xid is null and (e.begun or e.waiting is not null) as held
    ), stopped as (
        delete from pgconductor.running x using gone g where x.id between g.id and g.id
    ), forgotten as (
        delete from pgconductor.steps s using gone g where s.execution between g.id and g.id
    ), kept as (
        -- Two rows of one moment: cancelled, retried and cancelled again within one statement. The last one stands.
        insert into pgconductor.finished_executions as f (id, finished_at, created_at, run_at, took_ms, attempt, node,
            priority, state, queue, task, payload, metadata, event, event_at, event_kind, error, parent, steps)
        select g.id, present, g.created_at, nullif(g.run_at, 'infinity'),
            extract(epoch from present - r.started_at) * 1000, coalesce(r.attempt, g.attempt), r.node,
            g.priority, 'cancelled', g.queue, g.task, g.payload, g.metadata, g.event, g.event_at, g.event_kind, g.error, g.parent,
            pgconductor.kept_steps(g.id, g.asleep)
        from gone g
        left join lateral (
            select x.started_at, x.attempt, x.node from pgconductor.running x
            where x.id between g.id and g.id order by x.id, x.ready_xid desc limit 1) r on true
        where g.awaited or not exists (select from pgconductor.tasks t where t.name = g.task and t.keep_fail = '0')
        on conflict (id, finished_at) do update set state = excluded.state, error = excluded.error
    ), told as (
        insert into pgconductor.wakes (execution, wait, shard, key, error)
        select p.id, g.parent_wait, p.shard, g.parent_key, g.error
        from gone g
        join pgconductor.executions p on p.id between g.parent and g.parent
        join pgconductor.shards h on h.id = p.shard
        where pgconductor.awake(h.owner)
    )
    select coalesce(array_agg(g.id), '{}'),
        -- Only what is ready, or due, can be in the hands of a node.
        count(case when g.ready_xid is not null and not g.later and h.owner is not null and not quiet
            then pg_notify('pgconductor_' || h.owner, concat_ws(' ', 'cancel', g.id, g.ready_xid, left(g.error ->> 'message', 1000)))::text end),
        array_agg(distinct g.shard) filter (where g.held)
    into ended, notified, freed
    from gone g
    left join pgconductor.shards h on h.id = g.shard;
    -- Others of its key may go on.
    if freed is not null then
        perform pgconductor.wake(freed);
    end if;

    -- What the parent did before it was locked is seen by a statement of its own.
    with child as (
        select c.id, c.shard, c.parent_wait
        from unnest(ended) as r(id)
        cross join lateral (
            -- Ordered: see settle_full.
            select x.id, x.shard, x.parent_wait from pgconductor.executions x
            where x.parent between r.id and r.id
            order by x.parent, x.parent_key
        ) c
    ), told as (
        insert into pgconductor.wakes (execution, wait, shard, error)
        select c.id, c.parent_wait, c.shard, json_build_object('code', 'cancelled', 'message', 'its parent was cancelled')
        from child c
        join pgconductor.shards h on h.id = c.shard
        where not direct and pgconductor.awake(h.owner)
    )
    select coalesce(array_agg(c.id order by c.id), '{}') into children from child c;
end
$$;

comment on function pgconductor.end_cancelled(bigint[], json[], boolean) is
'Engine. Ends unfinished executions as cancelled, with these errors, tells their nodes and whoever waits for them. Returns which were there, and their children; direct: the caller cancels these, otherwise their owners are told to.';
