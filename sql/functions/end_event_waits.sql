create or replace function pgconductor.end_event_waits(waits bigint[], events pgconductor.happened[], present pg_snapshot,
    error json default null)
returns int
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    n int;
begin
    with over as (
        delete from pgconductor.event_waits w
        using unnest(end_event_waits.waits) with ordinality as h(id, n)
        where w.id = any (array[h.id])
        returning w.execution, w.wait, w.key, h.n
    ), told as (
        -- Its owner, as when a child ends, see settle_full.
        insert into pgconductor.wakes (execution, wait, shard, key, result, error, event_id, seen)
        select p.id, o.wait, p.shard, o.key, e.payload, end_event_waits.error, e.id, end_event_waits.present
        from over o
        join pgconductor.executions p on p.id between o.execution and o.execution
        join pgconductor.shards h on h.id = p.shard
        left join pgconductor.events e on e.id = events[o.n].id and e.created_at = events[o.n].at
        where (e.id is not null or end_event_waits.error is not null) and pgconductor.awake(h.owner)
        order by o.n
        returning 1
    )
    select count(*) into n from told;
    return n;
end
$$;

comment on function pgconductor.end_event_waits(bigint[], pgconductor.happened[], pg_snapshot, json) is
'Engine. Ends waits with the payloads of their events, or with an error; neither: just forgets them. Returns how many owners were told.';
