create or replace function pgconductor.balance(node int, timeout_ms int, settled boolean)
returns table (shard int, queue text, action text)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    here constant oid := (select d.oid from pg_database d where d.datname = current_database());
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
            group by 1, 2
        ) g on g.queue = q.name
    ), state as materialized (
        select s.id, s.queue, s.position, s.owner, s.id = any (u.shard_ids) as used,
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
    )
    select r.id, r.queue, case when r.mine then 'give' else 'take' end
    from ranked r
    where case
        when r.mine then r.have > r.quota and r.giving <= r.have - r.quota
        when r.free then r.have < r.quota and r.taking <= r.quota - r.have
            and (balance.settled or r.owner = balance.node)
        else false end
    order by r.queue, r.position;
end
$$;

comment on function pgconductor.balance(int, int, boolean) is
'Engine. What a node should do for the shards to be shared evenly: rows (shard, queue, action take or give). Ends the writers of other nodes that have waited for their master for longer than timeout_ms milliseconds. settled: false for a node that has just reconnected, and should look only for shards that were its own.';
