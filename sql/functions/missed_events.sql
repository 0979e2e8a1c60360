create or replace function pgconductor.missed_events(wait pgconductor.event_waits, step pgconductor.steps, upto pg_snapshot,
    first bigint, last bigint, max int)
returns setof pgconductor.happened
language sql stable
as $$
    with missed as (
        -- "+ 0": the index by id would be walked from its beginning.
        (select e.id, e.xid, e.key, e.created_at from pgconductor.events e
        where e.xid >= pg_catalog.pg_snapshot_xmin(step.seen) and e.xid < pg_catalog.pg_snapshot_xmax(upto)
            and e.key = wait.event and e.id >= first and e.id <= last
            and not pg_catalog.pg_visible_in_snapshot(e.xid, step.seen) and pg_catalog.pg_visible_in_snapshot(e.xid, upto)
        order by e.id + 0 limit max)
        union
        (select e.id, e.xid, e.key, e.created_at from pgconductor.events e
        where e.key = wait.event and e.id > step.after_id and e.id >= first and e.id <= last
            and pg_catalog.pg_visible_in_snapshot(e.xid, upto)
        order by e.id limit max)
        union
        (select e.id, e.xid, e.key, e.created_at from pgconductor.events e
        where e.key = wait.event and e.created_at >= step.since and e.id >= first and e.id <= last
            and pg_catalog.pg_visible_in_snapshot(e.xid, upto)
        order by e.id limit max)
    )
    select m.id, m.xid, m.key, m.created_at from missed m order by m.id limit max
$$;

comment on function pgconductor.missed_events(pgconductor.event_waits, pgconductor.steps, pg_snapshot, bigint, bigint, int) is
'Engine. The events that a wait (with its open step) is for, of those that upto shows as committed and with ids from first to last: in order, max at most.';
