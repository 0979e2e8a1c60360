create or replace function pgconductor.reroute(ids bigint[], xids xid8[])
returns int[]
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    targets int[];
    left_over int[];
begin
    -- Where each belongs by now; null: where it is. One that has not the key that it should have is moved to the same place.
    with run as materialized (
        select r.pos, e.queue, e.task, e.shard, e.key,
            (select pgconductor.key_of(e.payload, t.key_path) from pgconductor.tasks t
                where t.name = e.task and t.key_path is not null) as wanted
        from unnest(reroute.ids, reroute.xids) with ordinality as r(id, xid, pos)
        -- Not "=", see settle_plain.
        left join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
    ), home as materialized (
        select p.queue, p.task, case when t.limited then array[pgconductor.ensure_shard(p.queue, p.task)] else q.shard_ids end as ids
        from (select distinct u.queue, u.task from run u where u.task is not null) p
        join pgconductor.tasks t on t.name = p.task
        join pgconductor.queues q on q.name = p.queue
    )
    select array_agg(case when not u.shard = any (h.ids) or u.key is distinct from u.wanted
        then h.ids[1 + floor(random() * cardinality(h.ids))::int] end order by u.pos) into targets
    from run u left join home h on h.queue = u.queue and h.task = u.task;

    select array_agg(r.pos::int order by r.pos) into left_over
    from unnest(reroute.ids, reroute.xids) with ordinality as r(id, xid, pos)
    join pgconductor.move_runs(reroute.ids, reroute.xids, targets) m on m.id = r.id and m.old_xid = r.xid
    where m.new_xid is null;
    perform pgconductor.wake(array(select distinct t from unnest(targets) t where t is not null));
    return coalesce(left_over, '{}');
end
$$;

comment on function pgconductor.reroute(bigint[], xid8[]) is
'Engine, on the writer. Moves runs that are not running to the shards they belong to: a limited task has one of its own in each queue, the others are spread over the common ones. Gives them their keys. Returns the positions (from 1) of those that were not moved: they are where they belong, with their keys, or others have them locked.';
