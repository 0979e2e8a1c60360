create or replace function pgconductor.start_subscribed(batch pgconductor.happened[], careful boolean,
    out made int, out complaints text[], out stuck boolean)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    present constant timestamptz := pgconductor.now();
    dice constant int := floor(random() * 1024);
    ns int[];
    subs bigint[];
    f record;
    fit record;
    used int[];
begin
    made := 0;
    complaints := '{}';
    stuck := false;
    select coalesce(array_agg(b.n::int), '{}'), coalesce(array_agg(s.id), '{}') into ns, subs
    from unnest(batch) with ordinality as b(id, xid, key, at, n)
    join pgconductor.subscriptions s on s.key = b.key
    where s."when" is null and not s.shadow and not pg_visible_in_snapshot(b.xid, s.seen);

    for f in
        select s.key, s."when" as filter, array_agg(s.id) as subs, min(s.task) as task
        from (select distinct b.key from unnest(batch) b) u
        join pgconductor.subscriptions s on s.key = u.key
        where s."when" is not null and not s.shadow and s.broken is null
        group by s.key, s."when"
    loop
        select g.* into fit
        from pgconductor.passing(f.filter, array(select b from unnest(batch) b where b.key = f.key order by b.id), careful) g;
        if fit.complaint is not null then
            complaints := complaints || format('task %s: trigger of event %s: when: %s', f.task, f.key, fit.complaint);
        end if;
        if fit.stuck then
            update pgconductor.subscriptions s set broken = fit.complaint where s.id = any (f.subs);
            stuck := true;
            return;
        end if;
        select ns || coalesce(array_agg(b.n::int), '{}'), subs || coalesce(array_agg(s.id), '{}') into ns, subs
        from unnest(batch) with ordinality as b(id, xid, key, at, n)
        join pgconductor.subscriptions s on s.id = any (f.subs)
        where b.id = any (fit.held) and not pg_visible_in_snapshot(b.xid, s.seen);
    end loop;

    with put as (
        insert into pgconductor.executions (created_at, run_at, shard, lane, priority, queue, task, payload, metadata, event, event_at, event_kind, expires_at, key)
        select present, present, t.shard_ids[1 + (o.k + dice) % cardinality(t.shard_ids)], -t.priority, t.priority, t.queue, t.name,
            b.body,
            e.metadata,
            -- See change_key.
            split_part(e.key, E'\t', 1), e.created_at,
            case when strpos(e.key, E'\t') <> 0 then 'c' when s.fields is null then 'e' else 'p' end, present + t.total_timeout_ms * interval '1 ms',
            case when t.key_path is not null then pgconductor.key_of(b.body, t.key_path) end
        from (select p.n, p.sub, row_number() over (order by p.n, p.sub) as k from unnest(ns, subs) as p(n, sub)) o
        join pgconductor.subscriptions s on s.id = o.sub
        join pgconductor.tasks t on t.name = s.task
        join pgconductor.events e on e.id = batch[o.n].id and e.created_at = batch[o.n].at
        cross join lateral (
            select case when s.fields is null then e.payload else pgconductor.select_fields(e.payload, s.fields) end as body
        ) b
        order by o.k
        returning shard, lane
    ), lane as (
        insert into pgconductor.lanes (shard, lane)
        select distinct p.shard, p.lane from put p
        where p.lane <> 0 and not exists (select from pgconductor.lanes l where l.shard = p.shard and l.lane = p.lane)
    )
    select count(*), array_agg(distinct p.shard) into made, used from put p;
    perform pgconductor.wake(used);
end
$$;

comment on function pgconductor.start_subscribed(pgconductor.happened[], boolean) is
'Engine. Makes the executions of the tasks that are subscribed to these events, in their order. complaints: of conditions that could not be evaluated. stuck: one did not come to an end; it is not asked again, and nothing was made.';
