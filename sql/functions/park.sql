create or replace function pgconductor.park(ids bigint[], xids xid8[], reason text)
returns int[]
language plpgsql volatile
as $$
declare
    missed int[];
begin
    with free as materialized (
        select e.id, e.ready_xid
        from unnest(park.ids, park.xids) as r(id, xid)
        -- Not "=", see settle_plain.
        join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
        for update of e skip locked
    ), done as (
        update pgconductor.executions e
        set ready_xid = null, run_at = 'infinity', waiting = park.reason,
            journal = case when e.journal or exists (
                select from pgconductor.steps s where s.execution between f.id and f.id) then true end
        from free f where e.id between f.id and f.id and e.ready_xid is not distinct from f.ready_xid
    )
    select array_agg(r.pos order by r.pos) into missed
    from unnest(park.ids, park.xids) with ordinality as r(id, xid, pos)
    join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
    where not exists (select from free f where f.id = r.id and f.ready_xid = r.xid);
    return coalesce(missed, '{}');
end
$$;

comment on function pgconductor.park(bigint[], xid8[], text) is
'Engine, on the writer. Puts runs aside until unpark(); reason: unserved, or paused. Returns the positions (from 1) of those that others have locked: they were not done, and stay ready.';
