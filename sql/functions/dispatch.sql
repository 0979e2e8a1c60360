create or replace function pgconductor.dispatch(max_events int, max_made int, careful boolean,
    out events int, out made int, out woken int, out more boolean, out complaints text)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    done pgconductor.dispatched;
    present pg_snapshot;
    upto pg_snapshot;
    waits record;
    ended record;
    started record;
    batch pgconductor.happened[] := '{}';
    n int := 0;
    last bigint;
begin
    events := 0;
    made := 0;
    woken := 0;
    more := true;
    select d.* into done from pgconductor.dispatched d for update;
    -- All goes by this: what a later statement sees beyond it is left for the next time.
    select pg_current_snapshot() into present;
    upto := coalesce(done.target, present);

    -- Waits first: those that were not seen before are told of what is done; what is done next meets all of them.
    select * into waits from pgconductor.dispatch_waits(done, present, upto, max_events, careful);
    if waits.read_n < max_events and waits.stuck is null then
        batch := array(select e from pgconductor.next_events(done, upto, max_events) e);
        n := cardinality(batch);
        -- No more than can be made at once; but one event in any case.
        events := least(n, (
            select min(c.n) - 1
            from (
                select u.n, sum(s.n) over (order by u.n) as so_far
                from unnest(batch) with ordinality as u(id, xid, key, at, n)
                cross join lateral (select count(*) as n from pgconductor.subscriptions s where s.key = u.key) s
            ) c
            where c.so_far > max_made and c.n > 1));
        batch := batch[1:events];
    end if;

    -- A condition that does not come to an end has used up the time: that is noted, and nothing else is done.
    done.wait_id := waits.last_id;
    done.waits_seen := present;
    select 0 as made, '{}'::text[] as complaints, false as stuck into started;
    select * into ended from pgconductor.match_waits(batch, done, careful);
    if num_nonnulls(waits.stuck, ended.stuck) = 0 then
        select * into started from pgconductor.start_subscribed(batch, careful);
    end if;
    complaints := array_to_string((waits.complaints || ended.complaints || started.complaints)[1:20], E'\n');
    if num_nonnulls(waits.stuck, ended.stuck) > 0 or started.stuck then
        woken := pgconductor.end_event_waits(array_remove(array[waits.stuck, ended.stuck], null), null, upto,
            json_build_object('code', 'bad_filter', 'message', 'the condition takes too long'));
        events := 0;
        return;
    end if;
    made := started.made;
    woken := pgconductor.end_event_waits(waits.hits, waits.events, upto) + pgconductor.end_event_waits(ended.hits, ended.events, upto);

    more := waits.read_n >= max_events or n >= max_events or events < n or done.target is not null;
    last := batch[events].id;
    if waits.read_n >= max_events then
        null;
    elsif (n >= max_events or events < n) and last <= done.event_id then
        done.target := upto;
        done.late_id := last;
    else
        done.seen := upto;
        done.target := null;
        done.late_id := 0;
        done.event_id := greatest(done.event_id, last);
    end if;
    update pgconductor.dispatched d
    set event_id = done.event_id, late_id = done.late_id, wait_id = done.wait_id, seen = done.seen, waits_seen = done.waits_seen,
        target = done.target;
end
$$;

comment on function pgconductor.dispatch(int, int, boolean) is
'Engine, on the writer. Takes the next events, max_events at most: makes the executions of the tasks that are subscribed to them, about max_made at most, and ends what waits for them; each exactly once, whoever calls this. more: there is more. A condition that raises ends the statement; then careful has each one evaluated by itself: it does not hold for that event, which complaints (lines) tells.';
