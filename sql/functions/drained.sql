create or replace function pgconductor.drained(node int, shards int[], out held boolean, out failed bigint)
language sql stable
as $$
    with recursive going as (
        -- Who waits for something that is ready, or runs, in the hands of a node that is alive; and who waits for them.
        select e.parent as id
        from pgconductor.executions e
        join pgconductor.shards s on s.id = e.shard
        join pgconductor.live_nodes() l on l.node = s.owner
        where e.parent is not null and e.ready_xid is not null
            and not pgconductor.delayed(e.waiting, e.run_at)
        union
        select e.parent from going g join pgconductor.executions e on e.id = g.id where e.parent is not null
    )
    select exists (select from going g join pgconductor.executions e on e.id = g.id where e.shard = any (drained.shards))
            or exists (select from pgconductor.wakes w where w.shard = any (drained.shards)),
        (select count(*) from pgconductor.nodes n
            join pgconductor.finished_executions f on f.finished_at >= n.started_at and f.node = n.id
            where n.id = drained.node and f.state = 'failed')
$$;

comment on function pgconductor.drained(int, int[]) is
'Engine. For a node that has nothing left to do, with its shards. held: an execution of these waits for others that are still going on somewhere. failed: how many have failed for good on it since it was started, as far as history is kept.';
