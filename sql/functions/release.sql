create or replace function pgconductor.release(node int, shards int[], floors xid8[])
returns void
language sql volatile
as $$
    update pgconductor.shards s
    set owner = null, floor = g.floor
    from unnest(release.shards, release.floors) as g(shard, floor)
    where s.id = g.shard and s.owner = release.node;
    select pgconductor.refresh_routes()
$$;

comment on function pgconductor.release(int, int[], xid8[]) is
'Engine, on the writer. Gives shards up in good order: nothing of them is running. floors: nothing that was made ready by an earlier transaction is unfinished.';
