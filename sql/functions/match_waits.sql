create or replace function pgconductor.match_waits(batch pgconductor.happened[], done pgconductor.dispatched, careful boolean,
    out hits bigint[], out events pgconductor.happened[], out complaints text[], out stuck bigint)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    f record;
    fit record;
    own pgconductor.happened[];
    more_hits bigint[];
    more_events pgconductor.happened[];
begin
    hits := '{}';
    events := '{}';
    complaints := '{}';
    for f in
        select v.event, v.filter, array_agg(v.id) as waits, min(v.execution) as execution
        from (select distinct b.key from unnest(batch) b) u
        join pgconductor.event_waits v on v.event = u.key
        where v.id <= done.wait_id and pg_visible_in_snapshot(v.xid, done.waits_seen)
        group by v.event, v.filter
    loop
        own := array(select b from unnest(batch) b where b.key = f.event order by b.id);
        select * into fit from pgconductor.passing(f.filter, own, careful);
        if fit.complaint is not null then
            complaints := complaints || format('execution %s: waiting for event %s: %s', f.execution, f.event, fit.complaint);
        end if;
        if fit.stuck then
            stuck := f.waits[1];
            return;
        end if;
        select array_agg(c.id), array_agg(c.event) into more_hits, more_events
        from (
            -- Without an event: it is not waited for any more.
            select v.id, case when s.pos is not null then (
                select b from unnest(own) b
                where b.id = any (fit.held) and (b.id > s.after_id or b.at >= s.since or not pg_visible_in_snapshot(b.xid, s.seen))
                order by b.id limit 1) end as event, s.pos
            from unnest(f.waits) as w(id)
            join pgconductor.event_waits v on v.id = any (array[w.id])
            -- See take_wakes.
            left join pgconductor.steps s on s.execution = any (array[v.execution]) and s.key = any (array[v.key])
                and s.pos = v.wait and s.due_at is not null
        ) c
        where c.pos is null or (c.event).id is not null;
        hits := hits || coalesce(more_hits, '{}');
        events := events || coalesce(more_events, '{}');
    end loop;
end
$$;

comment on function pgconductor.match_waits(pgconductor.happened[], pgconductor.dispatched, boolean) is
'Engine. Which waits (hits) these events end, of those that have been read, each with the first event that does; null: it is not waited for any more. stuck: a wait whose condition does not come to an end.';
