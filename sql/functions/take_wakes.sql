create or replace function pgconductor.take_wakes(shards int[], xids xid8[], ids bigint[])
returns int[]
language plpgsql volatile
as $$
declare
    present constant timestamptz := pgconductor.now();
    left_over int[];
    stop_ids bigint[];
    stop_errors json[];
begin
    with wake as materialized (
        -- home: where the execution is now, null if it has ended. held: this may write it; what a client has locked (to
        -- cancel it, or for a step of its own) is left for later.
        select r.pos, w.shard, w.xid, w.id, w.execution, w.key, w.wait, w.result, w.error, w.event_id, w.seen,
            e.shard as home,
            e.shard is null or e.shard <> w.shard or l.id is not null as free,
            e.shard = w.shard and l.id is not null as held,
            -- It was retried meanwhile, or is not of this parent's present life.
            w.key is null and l.parent_wait = w.wait as ends
        -- Not "=", see settle_plain; and not "between" for several columns, of which only the first would bound
        -- the walk.
        from unnest(take_wakes.shards, take_wakes.xids, take_wakes.ids) with ordinality as r(shard, xid, id, pos)
        join pgconductor.wakes w on w.shard = any (array[r.shard]) and w.xid = any (array[r.xid]) and w.id = any (array[r.id])
            -- See take_changes.
            and w.change is null
        left join pgconductor.executions e on e.id between w.execution and w.execution
        left join lateral (
            select x.id, x.parent_wait from pgconductor.executions x
            where x.id between w.execution and w.execution and x.shard = w.shard
            for update skip locked
        ) l on true
    ), taken as (
        delete from pgconductor.wakes w
        using wake d
        where d.free and w.shard = any (array[d.shard]) and w.xid = any (array[d.xid]) and w.id = any (array[d.id])
    ), handed_on as (
        -- It was moved after it had been looked up.
        insert into pgconductor.wakes (execution, wait, shard, key, result, error, event_id, seen)
        select d.execution, d.wait, d.home, d.key, d.result, d.error, d.event_id, d.seen
        from wake d
        join pgconductor.shards h on h.id = d.home
        where d.home <> d.shard and pgconductor.awake(h.owner)
    ), over as (
        update pgconductor.steps s
        set due_at = null, ended_xid = pg_current_xact_id(), result = d.result, error = d.error,
            -- Where the next wait for that event goes on.
            after_id = coalesce(d.event_id, s.after_id), seen = coalesce(d.seen, s.seen),
            since = case when d.event_id is null then s.since end
        from wake d
        where d.held and d.key is not null
            and s.execution = any (array[d.execution]) and s.key = any (array[d.key])
            -- That key may be waited for once more, for another child.
            and s.pos = d.wait
            -- A wait that has ended stays as it is. Not "is not null": that would allow an index in which all waits of
            -- one execution are read for each.
            and coalesce(s.due_at, '-infinity') > '-infinity'
        returning s.execution
    ), resumed as (
        update pgconductor.executions e
        set ready_xid = case when e.pending <= o.n then pg_current_xact_id() end,
            run_at = case when e.pending <= o.n then present else e.run_at end,
            waiting = case when e.pending > o.n then e.waiting end,
            pending = case when e.pending > o.n then e.pending - o.n end
        from (select v.execution, count(*)::int as n from over v group by v.execution) o
        where e.id between o.execution and o.execution and coalesce(e.pending, -1) >= 0
    )
    select array_agg(d.pos::int order by d.pos) filter (where not d.free),
        array_agg(d.execution order by d.pos) filter (where d.ends),
        array_agg(d.error order by d.pos) filter (where d.ends)
    into left_over, stop_ids, stop_errors
    from wake d;
    if stop_ids is not null then
        perform pgconductor.end_cancelled(stop_ids, stop_errors, false);
    end if;
    return coalesce(left_over, '{}');
end
$$;

comment on function pgconductor.take_wakes(int[], xid8[], bigint[]) is
'Engine, on the writer. Does what wakes of this session''s shards say: ends waits, makes ready whom nothing more keeps waiting, cancels; hands on those whose execution is in another shard by now. They are gone afterwards, but for those whose positions (from 1) are returned: others have their executions locked, they were not done.';
