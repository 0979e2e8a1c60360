create or replace function pgconductor.tidy()
returns void
language sql volatile
as $$
    -- Lanes that were inserted twice. Whoever looks for one still finds the other.
    delete from pgconductor.lanes a using pgconductor.lanes b
    where a.shard = b.shard and a.lane = b.lane and a.ctid > b.ctid;

    delete from pgconductor.nodes n
    where n.seen_at < pgconductor.now() - interval '1 day'
        and not exists (select from pgconductor.live_nodes() l where l.node = n.id)
        and not exists (select from pgconductor.shards s where s.owner = n.id)
        and not exists (select from pgconductor.running r where r.node = n.id);

    delete from pgconductor.retried t
    where not exists (select from pgconductor.executions e where e.id = t.id)
        and not exists (select from pgconductor.finished_executions f where f.id = t.id);
$$;

comment on function pgconductor.tidy() is
'Engine. Removes what nothing refers to any more: duplicate lanes, nodes that ended a day ago, notes of retries.';
