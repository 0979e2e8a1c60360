create or replace function pgconductor.events_due()
returns boolean
language plpgsql stable
as $$
begin
    -- Not in plain SQL, which would plan it anew for every call: that takes many times longer than the answer.
    return (
        select d.target is not null
            or exists (select from pgconductor.events e where e.id > d.event_id)
            or exists (select from pgconductor.event_waits w where w.id > d.wait_id)
            or exists (
                select from unnest(array(select pg_catalog.pg_snapshot_xip(d.seen))) as t(xid)
                cross join lateral (select from pgconductor.events e where e.xid = t.xid and e.id <= d.event_id order by e.xid, e.id limit 1) e)
            or exists (
                select from unnest(array(select pg_catalog.pg_snapshot_xip(d.waits_seen))) as t(xid)
                cross join lateral (select from pgconductor.event_waits w where w.xid = t.xid and w.id <= d.wait_id order by w.xid, w.id limit 1) w)
            or exists (
                select from pgconductor.events e where e.xid >= pg_catalog.pg_snapshot_xmax(d.seen) and e.id <= d.event_id)
            or exists (
                select from pgconductor.event_waits w where w.xid >= pg_catalog.pg_snapshot_xmax(d.waits_seen) and w.id <= d.wait_id)
        from pgconductor.dispatched d);
end
$$;

comment on function pgconductor.events_due() is
'Engine, on the reader. There are events, or waits for events, that dispatch() has not seen.';
