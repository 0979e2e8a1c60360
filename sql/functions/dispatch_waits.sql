create or replace function pgconductor.dispatch_waits(done pgconductor.dispatched, present pg_snapshot, upto pg_snapshot,
    max int, careful boolean,
    out hits bigint[], out events pgconductor.happened[], out read_n int, out last_id bigint, out complaints text[], out stuck bigint)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    found bigint[];
    missed pgconductor.happened[];
    fit record;
    w record;
begin
    hits := '{}';
    events := '{}';
    complaints := '{}';
    -- Those that were committed late, and the next ones.
    select coalesce(array_agg(x.id order by x.id), '{}') into found
    from (
        select e.id from unnest(array(select pg_snapshot_xip(done.waits_seen))) as t(xid)
        join pgconductor.event_waits e on e.xid = t.xid and e.id <= done.wait_id
        where pg_visible_in_snapshot(e.xid, present)
        union all
        select e.id from pgconductor.event_waits e
        where e.xid >= pg_snapshot_xmax(done.waits_seen) and e.id <= done.wait_id and pg_visible_in_snapshot(e.xid, present)
        union all
        (select e.id from pgconductor.event_waits e
        where e.id > done.wait_id and pg_visible_in_snapshot(e.xid, present)
        order by e.id limit max)
    ) x;
    read_n := (select count(*) from unnest(found) i where i > done.wait_id);
    last_id := greatest(done.wait_id, found[cardinality(found)]);

    for w in
        select v as wait, s as step
        from unnest(found) with ordinality as f(id, n)
        join pgconductor.event_waits v on v.id = any (array[f.id])
        -- See take_wakes.
        join pgconductor.steps s on s.execution = any (array[v.execution]) and s.key = any (array[v.key])
            and s.pos = v.wait and s.due_at is not null
        order by f.n
    loop
        missed := '{}';
        loop
            missed := array(select m from pgconductor.missed_events(w.wait, w.step, upto,
                coalesce(missed[cardinality(missed)].id + 1, 0), done.event_id,
                case when (w.wait).filter is null then 1 else 100 end) m);
            exit when missed = '{}';
            select * into fit from pgconductor.passing((w.wait).filter, missed, careful);
            if fit.complaint is not null then
                complaints := complaints || format('execution %s, waiting for %s: %s', (w.wait).execution, (w.wait).key, fit.complaint);
            end if;
            if fit.stuck then
                stuck := (w.wait).id;
                return;
            end if;
            if fit.held <> '{}' then
                hits := hits || (w.wait).id;
                events := events || (select m from unnest(missed) m where m.id = fit.held[1]);
                exit;
            end if;
        end loop;
    end loop;
end
$$;

comment on function pgconductor.dispatch_waits(pgconductor.dispatched, pg_snapshot, pg_snapshot, int, boolean) is
'Engine. Reads new waits, max at most and up to last_id: which of them (hits) an event has ended already that was dispatched before they could be seen. upto: what is being dispatched. stuck: a wait whose condition does not come to an end; the rest was not done.';
