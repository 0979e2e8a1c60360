create or replace function pgconductor.take_dispatcher(node int)
returns boolean
language plpgsql volatile
as $$
declare
    here constant bigint := pgconductor.system_id();
    d pgconductor.dispatcher;
    done pgconductor.dispatched;
    own constant xid8 := pg_current_xact_id();
    now_seen pg_snapshot;
begin
    if not exists (
        select from pg_locks l
        where l.locktype = 'advisory' and l.classid = 1346847493 and l.objsubid = 2 and l.granted and l.pid = pg_backend_pid())
    then
        return false;
    end if;
    select x.* into d from pgconductor.dispatcher x for update;
    select x.* into done from pgconductor.dispatched x for update;
    -- A restored dump brings the numbers of another cluster with it. What was not done there is as if it were of this
    -- transaction; what was done, as if it had always been there.
    if d.system_id <> here then
        -- What this transaction sees, without itself.
        select format('%s:%s:%s', least(s.xmin, own), greatest(s.xmax::text::bigint, own::text::bigint + 1),
            string_agg(o.xid::text, ',' order by o.xid))::pg_snapshot
        into now_seen
        from (select pg_snapshot_xmin(c) as xmin, pg_snapshot_xmax(c) as xmax, c from pg_current_snapshot() c) s
        cross join lateral (
            select x::text::bigint as xid from pg_snapshot_xip(s.c) x
            union
            select generate_series(least(s.xmax::text::bigint, own::text::bigint), own::text::bigint)
        ) o
        group by s.xmin, s.xmax;
        update pgconductor.events e set xid = case when x.done then '3' else own end
        from (
            select v.id, v.created_at, v.id <= done.event_id and (pg_visible_in_snapshot(v.xid, done.seen)
                or v.id <= done.late_id and coalesce(pg_visible_in_snapshot(v.xid, done.target), false)) as done
            from pgconductor.events v
        ) x
        where e.id = x.id and e.created_at = x.created_at and (e.xid >= own or not x.done);
        update pgconductor.event_waits w
        set xid = case when w.id <= done.wait_id and pg_visible_in_snapshot(w.xid, done.waits_seen) then '3' else own end
        where w.xid >= own or w.id > done.wait_id or not pg_visible_in_snapshot(w.xid, done.waits_seen);
        update pgconductor.steps s set seen = now_seen where s.seen is not null;
        update pgconductor.subscriptions s set seen = now_seen;
        update pgconductor.dispatched x
        set seen = now_seen, waits_seen = now_seen, target = null, late_id = 0;
    end if;
    update pgconductor.dispatcher x
    set node = take_dispatcher.node, system_id = here, taken_at = pgconductor.now();
    return true;
end
$$;

comment on function pgconductor.take_dispatcher(int) is
'Engine, on the writer. This node dispatches events from now on. False: its session does not hold the lock, which it has to get in an earlier statement.';
