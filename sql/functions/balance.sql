create or replace function pgconductor.balance(node int, timeout_ms int, settled boolean)
returns table (shard int, queue text, action text)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    here constant oid := (select d.oid from pg_database d where d.datname = current_database());
    present constant timestamptz := pgconductor.now();
    patience constant interval := balance.timeout_ms * interval '1 ms';
    stuck int[];
    s record;
begin
    -- A stopped master keeps its locks when its backend waits for it in mid-pipeline, or to take an answer: no timeout
    -- of the session covers that. The last statement began at state_change; a writer's statements are short.
    stuck := array(
        select l.node from pgconductor.live_nodes() l
        cross join lateral pg_stat_get_activity(l.pid) a
        where l.node <> balance.node and a.wait_event_type = 'Client' and a.state <> 'idle'
            and a.state_change < clock_timestamp() - make_interval(secs => balance.timeout_ms / 1000.0));
    for s in select l.node, l.pid from pgconductor.live_nodes() l where stuck <> '{}' and l.node = any (stuck) loop
        begin
            perform pg_terminate_backend(s.pid);
            raise log 'pgconductor: node % has not answered for % ms: its writer, backend %, is ended',
                s.node, balance.timeout_ms, s.pid;
        exception when insufficient_privilege then
            raise warning 'pgconductor: node % does not answer, and its backend % belongs to another role', s.node, s.pid;
        end;
    end loop;

    return query
    with live as materialized (
        select l.node as id, l.pid from pgconductor.live_nodes() l where not l.node = any (stuck)
    ), held as materialized (
        select l.objid::bigint::int as shard, l.pid
        from pg_locks l
        where l.locktype = 'advisory' and l.classid = 1346847490 and l.objsubid = 2 and l.granted and l.database = here
    ), queue as materialized (
        -- Each queue begins to deal at another node, or the first node would get every remainder.
        select q.name, array(
            select n.id from pgconductor.nodes n join live v on v.id = n.id
            where q.name = any (n.queues)
            order by md5(q.name || '/' || n.id), n.id) as nodes
        from pgconductor.queues q
    ), quota as materialized (
        -- Shards that get new executions and those that do not (there were more once) are shared out separately.
        select q.name, g.used, case when q.nodes @> array[balance.node]
            then g.n / cardinality(q.nodes) + (array_position(q.nodes, balance.node) <= g.n % cardinality(q.nodes))::int
            else 0 end as n
        from queue q
        join (
            select s.queue, s.id = any (u.shard_ids) as used, count(*)::int as n
            from pgconductor.shards s join pgconductor.queues u on u.name = s.queue
            where s.task is null
            group by 1, 2
        ) g on g.queue = q.name
    ), state as materialized (
        select s.id, s.queue, s.position, s.task, s.owner, s.idle, s.id = any (u.shard_ids) as used,
            h.pid is not null and h.pid = (select v.pid from live v where v.id = balance.node) as mine,
            h.pid is null as free
        from pgconductor.shards s
        join pgconductor.queues u on u.name = s.queue
        left join held h on h.shard = s.id
    ), ranked as (
        -- What this node owned before comes first; then in order of position. Given up from the end.
        select s.*, q.n as quota,
            count(*) filter (where s.mine) over (partition by s.queue, s.used) as have,
            row_number() over (partition by s.queue, s.used, s.mine, s.free
                order by (s.owner is distinct from balance.node), s.position) as taking,
            row_number() over (partition by s.queue, s.used, s.mine, s.free order by s.position desc) as giving
        from state s join quota q on q.name = s.queue and q.used = s.used
        where s.task is null
    ), own as (
        -- That of a limited task goes to one node that serves it, each to another one.
        select s.*, (
            select n.id from pgconductor.nodes n join live v on v.id = n.id
            where s.queue = any (n.queues)
            order by (s.queue || '/' || s.task = any (n.serves)) desc, md5(s.queue || '/' || s.task || '/' || n.id), n.id
            limit 1) as home
        from state s where s.task is not null
    ), verdict as (
        select r.id, r.queue, r.position, case
            when r.mine then case when r.have > r.quota and r.giving <= r.have - r.quota then 'give' end
            when r.free and r.have < r.quota and r.taking <= r.quota - r.have
                and (balance.settled or r.owner = balance.node) then 'take' end as action
        from ranked r
        union all
        select o.id, o.queue, null, case
            when o.mine and o.home <> balance.node then 'give'
            -- All that may still run it elsewhere have heard of the limit, and run none of it any more.
            when o.mine then case when not exists (
                select from pgconductor.tasks t
                join pgconductor.nodes n on n.id in (select l.node from pgconductor.live_nodes() l)
                    or n.left_at is null and n.seen_at between present - 1.5 * patience and present
                where t.name = o.task and t.limited and t.limited_xid < pg_snapshot_xmax(pg_current_snapshot())
                    and coalesce(not pg_visible_in_snapshot(t.limited_xid, n.obeys), true)) then 'open' end
            -- Who had it may not know yet that it has lost it. It has stopped what it runs by then.
            when o.free and o.home = balance.node and (balance.settled or o.owner = balance.node)
                and (o.owner = balance.node or o.idle or not exists (
                    select from pgconductor.nodes n
                    where n.id = o.owner and n.seen_at between present - 1.125 * patience - interval '0.5 s' and present)) then 'take' end
        from own o
    )
    select v.id, v.queue, v.action
    from verdict v
    where v.action is not null
    order by v.queue, v.position, v.id;
end
$$;

comment on function pgconductor.balance(int, int, boolean) is
'Engine. What a node should do for the shards to be shared evenly: rows (shard, queue, action take or give; open, of a limited task''s shard that it has: its executions may be handed out). One of a limited task that its owner has not given up is left alone until that has certainly stopped what it ran, half a second more than timeout_ms and an eighth of it after it was seen last. Ends the writers of other nodes that have waited for their master for longer than timeout_ms milliseconds. settled: false for a node that has just reconnected, and should look only for shards that were its own.';
