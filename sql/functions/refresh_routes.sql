create or replace function pgconductor.refresh_routes()
returns void
language sql volatile
as $$
    -- A row that a client's declare_task holds locked is left for the next time: nobody waits here.
    with route as materialized (
        select q.name as queue, q.shard_ids, array(
            select s.owner from unnest(q.shard_ids) with ordinality u(id, n)
            join pgconductor.shards s on s.id = u.id order by u.n) as owners
        from pgconductor.queues q
    ), own as materialized (
        select t.name, array[s.id] as shard_ids, array[s.owner] as owners
        from pgconductor.tasks t
        join pgconductor.shards s on s.queue = t.queue and s.task = t.name
        where t.limited
    ), wrong as materialized (
        select t.name, r.shard_ids, r.owners
        from route r
        join pgconductor.tasks t on t.queue = r.queue
        where not t.limited and (t.shard_ids <> r.shard_ids or t.owners <> r.owners)
        for update of t skip locked
    ), wrong_own as materialized (
        select t.name, o.shard_ids, o.owners
        from own o
        join pgconductor.tasks t on t.name = o.name
        where t.limited and (t.shard_ids <> o.shard_ids or t.owners <> o.owners)
        for update of t skip locked
    )
    update pgconductor.tasks t set shard_ids = w.shard_ids, owners = w.owners
    from (select * from wrong union all select * from wrong_own) w where t.name = w.name
$$;

comment on function pgconductor.refresh_routes() is
'Engine. Brings the copy up to date that each task has of its queue''s shards, or of the one of its own if it is limited, and their owners. An old owner costs a wake-up, an old shard nothing.';
