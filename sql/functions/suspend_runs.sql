create or replace function pgconductor.suspend_runs(ids bigint[], xids xid8[], anys boolean[], timeouts_ms bigint[],
    runs int[], keys text[], timers_ms bigint[], tasks text[], queues text[], payloads json[], priorities int[],
    wait_timeouts_ms bigint[], events text[] default null, filters text[] default null, sinces text[] default null,
    changes json[] default null, metadatas json[] default null)
returns table (pos int, used text)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    present constant timestamptz := pgconductor.now();
    dice constant int := floor(random() * 1024);
    queue_name constant text := '^[a-z0-9_][a-z0-9_.-]{0,62}$';
    name text;
    free boolean[];
    missed int[];
    resumed bigint[];
    given xid8[];
    ends timestamptz[];
    begun timestamptz[];
    metas json[];
    shards int[];
    refused int[];
    refused_keys text[];
    bad_filters text[];
    faults text[];
    c text;
    change pgconductor.watches;
    watch pgconductor.watches;
    change_texts text[] := '{}';
    change_keys text[] := '{}';
    change_faults text[] := '{}';
    unwatched text[] := '{}';
    again int[] := '{}';
begin
    -- A queue may be used before a node serves it.
    for name in
        select distinct u.name from unnest(suspend_runs.queues) as u(name)
        where u.name ~ queue_name and not exists (select from pgconductor.queues q where q.name = u.name)
        order by 1
    loop
        perform pgconductor.ensure_queue(name);
    end loop;

    select array_agg(f.filter), array_agg(f.fault) into bad_filters, faults
    from (
        select x.filter, pgconductor.filter_fault(x.filter) as fault
        from (select distinct u.filter from unnest(suspend_runs.filters) as u(filter)) x
    ) f
    where f.fault is not null;

    -- They have their triggers, see watch(). Should one have been dropped since then, its run is made ready again, and waits anew.
    for c in select distinct u.change::text from unnest(suspend_runs.changes) as u(change) where u.change is not null loop
        change := pgconductor.read_change(c::json);
        watch := null;
        if change.problem is null then
            select w.* into watch from pgconductor.watches w where w.what = change.what for key share;
            change.problem := watch.problem;
            if change.problem is null and (watch.id is null or not pgconductor.is_watched(watch)) then
                unwatched := unwatched || c;
            end if;
        end if;
        change_texts := change_texts || c;
        change_keys := change_keys || coalesce(pgconductor.change_key(watch), 'none');
        change_faults := change_faults || change.problem;
    end loop;
    if unwatched <> '{}' then
        again := array(
            select distinct u.run from unnest(suspend_runs.runs, suspend_runs.changes) as u(run, change) where u.change::text = any (unwatched));
    end if;

    select array_agg(l.id is not null order by r.pos),
        array_agg(r.pos::int order by r.pos) filter (where l.id is null and e.id is not null),
        array_agg(l.id) filter (where l.journal),
        -- Moved while it ran, it was told what had ended before it was handed out.
        array_agg(case when l.moved like l.ready_xid || '.%' then split_part(split_part(l.moved, '=', 2), '.', 1)::xid8
            else l.ready_xid end order by r.pos),
        array_agg(l.expires_at order by r.pos),
        array_agg(l.created_at order by r.pos),
        array_agg(l.metadata order by r.pos)
    into free, missed, resumed, given, ends, begun, metas
    from unnest(suspend_runs.ids, suspend_runs.xids) with ordinality as r(id, xid, pos)
    -- Not "=", see settle_plain.
    left join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
    left join lateral (
        select x.id, x.ready_xid, x.journal, x.moved, x.expires_at, x.created_at, x.metadata from pgconductor.executions x
        where x.id between r.id and r.id and x.ready_xid is not distinct from r.xid
        for update skip locked
    ) l on true;
    if resumed is not null then
        perform pgconductor.end_waits(resumed);
    end if;

    with wait as materialized (
        -- One that it has known before goes on, or has ended: a child is not made twice, a timer not started anew.
        select g.pos, g.run, ids[g.run] as id, g.key, g.task, g.payload, g.metadata, q.name as queue,
            least(greatest(coalesce(g.priority, t.priority, 0), -32768), 32767) as priority,
            g.timer_ms is not null as timer, t.total_timeout_ms,
            coalesce(o.own, q.shard_ids[1 + (g.pos + dice) % cardinality(q.shard_ids)]) as shard,
            case when o.own is not null then t.key_path end as key_path,
            s.execution is not null as known, s.due_at as had,
            g.nth > 1 as twice,
            s.execution is not null and s.due_at is null and coalesce(s.ended_xid <= given[g.run], true) as told,
            g.event, g.filter,
            case when s.execution is not null then
                    case when s.due_at is not null then least(s.due_at, present + g.limit_ms * interval '1 ms') end
                when g.timer_ms is not null then present + least(g.timer_ms, g.limit_ms) * interval '1 ms'
                when g.event is not null then case when bad.event or num_nonnulls(bad.fault, bad.change) > 0 then null
                    else coalesce(present + g.limit_ms * interval '1 ms', 'infinity') end
                when q.name is null then null
                else coalesce(present + g.limit_ms * interval '1 ms', 'infinity') end as due_at,
            p.seen, p.after_id, p.since,
            case when bad.change is not null then json_build_object('code', 'bad_change', 'message', bad.change)
                when g.event is not null and bad.event then json_build_object('code', 'bad_event',
                    'message', quote_literal(g.event) || ' is not an event''s name')
                when g.event is not null and bad.fault is not null then json_build_object('code', 'bad_filter',
                    'message', 'the condition cannot be used: ' || bad.fault)
                when g.event is null and g.timer_ms is null and t.name is null then json_build_object('code', 'unknown_task',
                    'message', 'task ' || coalesce(quote_literal(g.task), 'null') || ' was never declared')
                when g.event is null and g.timer_ms is null and not t.invocable and s.execution is null then json_build_object(
                    'code', 'not_invocable', 'message', 'task ' || quote_literal(g.task) || ' is started by its triggers only')
                when g.event is null and g.timer_ms is null and q.name is null then json_build_object('code', 'bad_queue',
                    'message', quote_literal(g.queue) || ' is not a queue''s name')
                when g.limit_ms < g.timer_ms or g.timer_ms is null and g.limit_ms is not null then
                    json_build_object('code', 'timeout', 'message', 'not finished within ' || g.limit_ms || ' ms')
                end as error
        from (
            -- A century at most, so that the time can be written.
            select u.run, u.key, u.task, u.queue, u.payload, u.metadata, u.priority, u.pos,
                case when u.timer_ms is null and u.task is null
                    then coalesce(change_keys[array_position(change_texts, u.change::text)], u.event) end as event,
                u.change::text as change, case when u.change is null then u.filter end as filter, u.since,
                row_number() over (partition by u.run, u.key order by u.pos) as nth,
                case when u.timer_ms is not null then greatest(least(u.timer_ms, 3155760000000), 0) end as timer_ms,
                case when num_nonnulls(u.timeout_ms, timeouts_ms[u.run]) > 0
                    then greatest(least(u.timeout_ms, timeouts_ms[u.run], 3155760000000), 0) end as limit_ms
            from unnest(suspend_runs.runs, suspend_runs.keys, suspend_runs.timers_ms, suspend_runs.tasks,
                suspend_runs.queues, suspend_runs.payloads, suspend_runs.priorities, suspend_runs.wait_timeouts_ms,
                suspend_runs.events, suspend_runs.filters, suspend_runs.sinces, suspend_runs.changes,
                suspend_runs.metadatas)
                with ordinality as u(run, key, timer_ms, task, queue, payload, priority, timeout_ms, event, filter, since, change, metadata,
                    pos)
            where free[u.run] and not u.run = any (again)
        ) g
        -- See take_wakes.
        left join pgconductor.steps s on s.execution = any (array[ids[g.run]]) and s.key = any (array[g.key])
        left join pgconductor.tasks t on t.name = g.task
        left join pgconductor.queues q on q.name = coalesce(g.queue, t.queue) and t.invocable
        left join lateral (select pgconductor.own_shard(t, q.name) as own) o on true
        -- From where on events count: from now on; or from when it began, or from behind the event that it has waited for last.
        left join lateral (
            select g.change is null and (g.event ~ '[[:cntrl:]]' or length(g.event) not between 1 and 200) as event, faults[array_position(bad_filters, g.filter)] as fault,
                case when g.event is not null then change_faults[array_position(change_texts, g.change)] end as change
        ) bad on true
        left join lateral (
            select coalesce(b.seen, pg_current_snapshot()) as seen, b.after_id,
                case when g.since = 'start' and b.seen is null then begun[g.run] else b.since end as since
            from (select 1) x
            left join lateral (
                select k.seen, k.after_id, k.since from pgconductor.steps k
                where g.since = 'start' and k.execution between ids[g.run] and ids[g.run] and k.event = g.event
                order by k.pos desc limit 1
            ) b on true
        ) p on g.event is not null
    ), judged as materialized (
        -- Where nothing but time is waited for, and all of it, there is no need to watch: the outcome is known now.
        -- wrong: a key is used twice, or what it waits for had ended before it began, so that it would be resumed, and
        -- wait, for ever.
        select w.*, coalesce(w.due_at > present, false) as open,
            bool_and(w.timer and not w.known and w.due_at <= coalesce(ends[w.run], 'infinity')) over r
                and (not coalesce(anys[w.run], false) or count(*) over r = 1) as certain,
            bool_or(w.twice) over r or case when coalesce(anys[w.run], false) then bool_or(w.told) over r
                else bool_and(w.told) over r end as wrong
        from wait w
        window r as (partition by w.run)
    ), fresh as materialized (
        -- Their places are drawn here, in order: a child is to know that of its wait.
        select o.*, nextval('pgconductor.steps_pos_seq') as wait
        from (select j.* from judged j where not j.known and not j.wrong order by j.pos) o
    ), remembered as (
        insert into pgconductor.steps (execution, pos, ended_xid, due_at, key, error, event, seen, after_id, since)
        select f.id, f.wait, case when not f.open or f.certain then pg_current_xact_id() end,
            case when f.open and not f.certain then f.due_at end, f.key, f.error, f.event, f.seen, f.after_id, f.since
        from fresh f
        on conflict do nothing
    ), listening as (
        insert into pgconductor.event_waits (execution, wait, key, event, filter)
        select f.id, f.wait, f.key, f.event, f.filter
        from fresh f
        join pgconductor.dispatcher d on pgconductor.awake(d.node)
        where f.open and f.event is not null
        order by f.pos
    ), shortened as (
        update pgconductor.steps s
        set due_at = j.due_at, result = null,
            error = json_build_object('code', 'timeout', 'message', 'not finished in time')
        from judged j
        where j.known and not j.wrong and j.due_at < j.had and s.execution = any (array[j.id]) and s.key = any (array[j.key])
    ), child as (
        insert into pgconductor.executions (created_at, run_at, shard, lane, priority, queue, task, payload, metadata, expires_at,
            parent, parent_key, parent_wait, key)
        select present, present, f.shard, -f.priority, f.priority, f.queue, f.task, coalesce(f.payload, 'null'),
            case when f.metadata is null then metas[f.run] else pgconductor.merge_metadata(metas[f.run], f.metadata) end,
            present + f.total_timeout_ms * interval '1 ms', f.id, f.key, f.wait,
            pgconductor.key_of(coalesce(f.payload, 'null'), f.key_path)
        from fresh f where f.open and not f.timer and f.event is null
        returning shard, lane
    ), lane as (
        insert into pgconductor.lanes (shard, lane)
        select distinct c.shard, c.lane from child c
        where c.lane <> 0 and not exists (
            select from pgconductor.lanes l where l.shard = c.shard and l.lane = c.lane)
    ), verdict as (
        select v.run, ids[v.run] as id, bool_or(v.certain) as certain, count(*) filter (where v.open) as open,
            coalesce(anys[v.run], false) as one,
            coalesce(anys[v.run], false) and bool_or(not v.open) filter (where v.key is not null) as some,
            case when bool_or(v.certain) then max(v.due_at) else min(v.due_at) filter (where v.open) end as due_at
        from (
            select j.run, j.key, j.certain, j.open, j.due_at from judged j where not j.wrong
            union all
            select p, null, null, false, null from generate_subscripts(free, 1) p
            where free[p] and not p = any (array(select j.run from judged j where j.wrong))
        ) v
        group by v.run
    ), put_aside as (
        update pgconductor.executions e
        set ready_xid = case when v.open = 0 or v.some and not v.certain then pg_current_xact_id() end,
            run_at = case when v.open = 0 or v.some and not v.certain then present else least(v.due_at, e.expires_at) end,
            waiting = case when v.open = 0 or v.some and not v.certain then null else 'suspended' end,
            pending = case when v.open = 0 or v.some or v.certain then null when v.one then 1 else v.open end,
            journal = true, begun = case when e.key is not null then true end
        from verdict v
        where e.id between v.id and v.id and e.ready_xid is not distinct from xids[v.run]
    ), stopped as (
        delete from pgconductor.running x
        using unnest(suspend_runs.ids, suspend_runs.xids) with ordinality as r(id, xid, pos)
        where x.id between r.id and r.id and x.ready_xid = r.xid and (missed is null or not r.pos = any (missed))
    )
    select (select array_agg(distinct c.shard) from child c), array_agg(b.run), array_agg(b.key)
    into shards, refused, refused_keys
    from (
        select distinct on (j.run) j.run, j.key from judged j
        where j.wrong and (j.twice or j.told) order by j.run, j.twice desc, j.pos
    ) b;
    if shards is not null then
        perform pgconductor.wake(shards);
    end if;
    return query select m, null::text from unnest(missed) m
        union all select b.run, b.key from unnest(refused, refused_keys) as b(run, key);
end
$$;

comment on function pgconductor.suspend_runs(bigint[], xid8[], boolean[], bigint[], int[], text[], bigint[], text[], text[], json[], int[], bigint[], text[], text[], text[], json[], json[]) is
'Engine, on the writer. Ends runs without an outcome, until what they wait for: everything, or with anys one of it; timeouts_ms: for all of it (null: no limit). The first four arrays go by run, the others by wait: runs is the position (from 1) of its run; a timer; an event of that name, for which filters (null: none) hold, sinces start: also one since the execution began, or since the one it has waited for last; a change, as declare_triggers takes them; or else a child of tasks, in queues (null: its own), with payloads, priorities (null: its own) and metadatas (beside those of its parent), for wait_timeouts_ms at most. A wait under a key that its execution knows goes on, or has ended. A run without waits is ready again at once. Returns the positions (from 1) of runs that were not done: others have them locked; or, with used, it uses that key twice, or would wait for what had ended before it was handed out.';
