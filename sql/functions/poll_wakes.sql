-- As poll() is, so that it is inlined, and rows and snapshot belong together.
create or replace function pgconductor.poll_wakes(shards int[], xids xid8[], ids bigint[], untils xid8[], limits int[])
returns table (entry int, shard int, xid xid8, id bigint, snapshot text, execution bigint, ready_xid xid8, lane int)
language sql stable
as $$
    select 0, null::int, null::xid8, null::bigint, pg_catalog.pg_current_snapshot()::text, null::bigint, null::xid8, null::int
    union all
    select r.entry::int, w.shard, w.xid, w.id, null, e.id, e.ready_xid, e.lane
    from unnest(poll_wakes.shards, poll_wakes.xids, poll_wakes.ids, poll_wakes.untils, poll_wakes.limits) with ordinality
        as r(shard, xid, id, until, rows, entry)
    cross join lateral (
        select x.shard, x.xid, x.id, case when not x.change is null then x.execution end as changed
        from pgconductor.wakes x
        where x.shard = r.shard and (x.xid, x.id) > (r.xid, r.id) and x.xid <= r.until
        order by x.xid, x.id
        limit r.rows
    ) w
    left join lateral (
        select w.changed as id, c.ready_xid, c.lane
        from (select 1) one
        -- Not "=", see settle_plain.
        left join pgconductor.executions c on c.id between w.changed and w.changed
        where w.changed is not null
    ) e on true
$$;

comment on function pgconductor.poll_wakes(int[], xid8[], bigint[], xid8[], int[]) is
'Engine, on the reader. Reads which wakes there are. Range i: of shards[i], those after (xids[i], ids[i]) up to transaction untils[i], limits[i] at most, in order; its rows have entry i (from 1). One row with entry 0 has the snapshot. execution: of a wake that changes it; ready_xid (null: it is not ready) and lane: as it is now.';
