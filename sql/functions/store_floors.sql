create or replace function pgconductor.store_floors(node int, shards int[], floors xid8[])
returns void
language sql volatile
as $$
    update pgconductor.shards s
    set floor = g.floor
    from unnest(store_floors.shards, store_floors.floors) as g(shard, floor)
    where s.id = g.shard and s.owner = store_floors.node and s.floor <> g.floor;
    update pgconductor.nodes n set seen_at = pgconductor.now() where n.id = store_floors.node;
    select pgconductor.refresh_routes()
$$;

comment on function pgconductor.store_floors(int, int[], xid8[]) is
'Engine, on the writer. Stores from where a successor would have to read each shard, and that the node was seen.';
