-- What rehome and rehome_to have in common. A parked target lane must be known to its reader, as with invoke.
-- moved: a run that is taken along by its owner goes on, and its handler with the token that it was given. So the row says
-- which token that is, and beside which it is valid: PRESENT=GIVEN. Nobody else's present token is ever the same.
create or replace function pgconductor.move_runs(ids bigint[], xids xid8[], targets int[])
returns table (id bigint, old_xid xid8, new_xid xid8, shard int)
language plpgsql volatile
as $$
#variable_conflict use_column
begin
    return query
    with free as materialized (
        select e.id, e.ready_xid, e.lane, r.target,
            case when t.task is not null then (
                select pgconductor.key_of(e.payload, x.key_path) from pgconductor.tasks x where x.name = e.task and x.key_path is not null)
            end as key,
            case when o.owner = t.owner then t.epoch || '.' || t.owner || '=' || case
                when e.moved like e.ready_xid || '.' || o.epoch || '.' || o.owner || '=%' then split_part(e.moved, '=', 2)
                else e.ready_xid || '.' || o.epoch || '.' || o.owner end end as alias
        from unnest(move_runs.ids, move_runs.xids, move_runs.targets) as r(id, xid, target)
        -- Not "=", see settle_plain.
        join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
        left join pgconductor.shards o on o.id = e.shard
        left join pgconductor.shards t on t.id = r.target
        for update of e skip locked
    ), done as (
        update pgconductor.executions e
        set shard = coalesce(f.target, e.shard), key = f.key,
            begun = case when f.key is not null and (e.begun or e.attempt > 0 or e.journal) then true end,
            ready_xid = case when f.target is null then e.ready_xid else pg_current_xact_id() end,
            waiting = null,
            moved = pg_current_xact_id() || '.' || f.alias,
            journal = case when e.journal or exists (
                select from pgconductor.steps s where s.execution between f.id and f.id) then true end
        from free f
        where e.id between f.id and f.id and e.ready_xid is not distinct from f.ready_xid and f.target is not null
        returning e.id, f.ready_xid as old, e.ready_xid as new, e.shard, e.lane
    ), noted as (
        update pgconductor.running x set ready_xid = d.new, shard = d.shard
        from done d where x.id between d.id and d.id and x.ready_xid = d.old
    ), lane as (
        insert into pgconductor.lanes (shard, lane)
        select distinct d.shard, d.lane from done d
        where not exists (select from pgconductor.lanes l where l.shard = d.shard and l.lane = d.lane)
    )
    select e.id, r.xid, d.new, d.shard
    from unnest(move_runs.ids, move_runs.xids) as r(id, xid)
    join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
    left join done d on d.id = r.id and d.old = r.xid;
end
$$;

comment on function pgconductor.move_runs(bigint[], xid8[], int[]) is
'Engine. Moves runs to shards (targets; null: stays). new_xid is null for those that others have locked, and for those that stay.';
