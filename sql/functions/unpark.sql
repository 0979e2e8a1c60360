create or replace function pgconductor.unpark(shards int[])
returns int
language plpgsql volatile
as $$
declare
    served constant text[] := array(
        select distinct s from pgconductor.nodes n
        join pgconductor.live_nodes() l on l.node = n.id
        cross join lateral unnest(n.serves) s);
    paused constant text[] := array(select t.name from pgconductor.tasks t where t.paused_at is not null);
    n int;
begin
    with free as materialized (
        select e.id
        from unnest(unpark.shards) as s(shard)
        cross join lateral (
            select x.id from pgconductor.executions x
            where x.shard = s.shard and x.ready_xid is null and x.run_at = 'infinity'
                and case x.waiting when 'unserved' then x.queue || '/' || x.task = any (served)
                    when 'paused' then not x.task = any (paused) end
            limit 10000
            for update skip locked
        ) e
        limit 10000
    ), done as (
        update pgconductor.executions e
        set ready_xid = pg_current_xact_id(), run_at = pgconductor.now(), waiting = null
        -- Not "=", see settle_plain.
        from free f where e.id between f.id and f.id
        returning 1
    )
    select count(*) into n from done;
    return n;
end
$$;

comment on function pgconductor.unpark(int[]) is
'Engine, on the writer. Makes executions of these shards ready again that were parked as unserved and whose task some live node serves now, or as paused and whose task is not paused any more. Returns how many; 10000: there may be more.';
