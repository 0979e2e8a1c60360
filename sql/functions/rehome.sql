create or replace function pgconductor.rehome(ids bigint[], xids xid8[], node int)
returns table (id bigint, old_xid xid8, new_xid xid8, shard int, locked boolean)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    targets int[];
begin
    -- For each run some shard of its queue whose owner is alive and serves its task.
    with pair as materialized (
        select distinct e.queue, e.task
        from unnest(rehome.ids, rehome.xids) as r(id, xid)
        -- Not "=", see settle_plain.
        join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
    ), choice as materialized (
        select p.queue, p.task, array(
            select s.id from pgconductor.shards s
            join pgconductor.nodes n on n.id = s.owner
            join pgconductor.live_nodes() l on l.node = n.id
            where s.queue = p.queue and s.task is not distinct from (select t.name from pgconductor.tasks t where t.name = p.task and t.limited)
                and n.id <> rehome.node and p.queue || '/' || p.task = any (n.serves)
            order by s.id) as shards
        from pair p
    )
    select array_agg(c.shards[1 + floor(random() * cardinality(c.shards))::int] order by r.pos) into targets
    from unnest(rehome.ids, rehome.xids) with ordinality as r(id, xid, pos)
    left join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
    left join choice c on c.queue = e.queue and c.task = e.task;

    return query
        select m.id, m.old_xid, m.new_xid, m.shard, m.new_xid is null and t.target is not null
        from pgconductor.move_runs(rehome.ids, rehome.xids, targets) m
        join unnest(rehome.ids, rehome.xids, targets) as t(id, xid, target) on t.id = m.id and t.xid = m.old_xid;
    perform pgconductor.wake(array(select distinct t from unnest(targets) t where t is not null));
end
$$;

comment on function pgconductor.rehome(bigint[], xid8[], int) is
'Engine, on the writer. Hands runs whose task the given node does not serve to a shard of the same queue, of another live node that does. A row for each that is still there: new_xid and shard are null if it stays, either because another session has it locked (locked: try again) or because nobody serves it (park it).';
