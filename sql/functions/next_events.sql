create or replace function pgconductor.next_events(done pgconductor.dispatched, upto pg_snapshot, max int)
returns setof pgconductor.happened
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    n int;
begin
    return query
        select l.id, l.xid, l.key, l.created_at
        from (
            select e.id, e.xid, e.key, e.created_at
            from unnest(array(select pg_snapshot_xip(done.seen))) as t(xid)
            cross join lateral (
                select v.id, v.xid, v.key, v.created_at from pgconductor.events v
                where v.xid = t.xid and v.id > done.late_id and v.id <= done.event_id
                order by v.xid, v.id limit max
            ) e
            union all
            select v.id, v.xid, v.key, v.created_at from pgconductor.events v
            where v.xid >= pg_snapshot_xmax(done.seen) and v.xid < pg_snapshot_xmax(upto)
                and v.id > done.late_id and v.id <= done.event_id
        ) l
        where pg_visible_in_snapshot(l.xid, upto)
        order by l.id limit max;
    get diagnostics n = row_count;
    -- Once all of these are done, and not before: what is visible up to there must be known by one snapshot.
    if n < max and done.target is null then
        return query
            select e.id, e.xid, e.key, e.created_at from pgconductor.events e
            where e.id > done.event_id and pg_visible_in_snapshot(e.xid, upto)
            order by e.id limit max - n;
    end if;
end
$$;

comment on function pgconductor.next_events(pgconductor.dispatched, pg_snapshot, int) is
'Engine. The events that come next, max at most, in order of id: first those up to event_id that were committed since, then those behind it. What was committed before something else was emitted has a lower id, and comes before it.';
