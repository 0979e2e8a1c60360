-- One statement, as poll is. A range is walked by jumps from key to key: what stands behind the first rows of one costs nothing.
-- Ten microseconds for a key with one row, of 200,000.
create or replace function pgconductor.poll_keys(shard int, path text[], starts text[], ends text[], final text, keys int, rows int, fifo boolean,
    wanted text[], lanes int[], ids bigint[], limits int[])
returns table (entry int, id bigint, ready_xid xid8, attempt int, task text, payload json, payload_len int,
    metadata json, event text, shard int, lane int, parent bigint, journal boolean, expires_ms bigint,
    event_at text, event_kind text, key text, begun boolean, astray boolean)
language sql stable
as $$
    with found as (
        select f.key
        from (
            select g.key
            from unnest(poll_keys.starts, poll_keys.ends) as r(first, beyond)
            cross join lateral (
                with recursive walk(key, n) as (
                    (select x.key, 1 from pgconductor.executions x
                    where x.shard = poll_keys.shard and x.key >= r.first and x.key < r.beyond
                        and x.key is not null and x.ready_xid is not null
                    order by x.key limit 1)
                    union all
                    select y.key, w.n + 1
                    from walk w
                    cross join lateral (
                        select x.key from pgconductor.executions x
                        where x.shard = poll_keys.shard and x.key > w.key and x.key < r.beyond
                            and x.key is not null and x.ready_xid is not null
                        order by x.key limit 1) y
                    where w.n < poll_keys.keys
                )
                select w.key from walk w
            ) g
            union all
            select g.key
            from (
                with recursive walk(key, n) as (
                    (select x.key, 1 from pgconductor.executions x
                    where x.shard = poll_keys.shard and x.key >= poll_keys.final
                        and x.key is not null and x.ready_xid is not null
                    order by x.key limit 1)
                    union all
                    select y.key, w.n + 1
                    from walk w
                    cross join lateral (
                        select x.key from pgconductor.executions x
                        where x.shard = poll_keys.shard and x.key > w.key
                            and x.key is not null and x.ready_xid is not null
                        order by x.key limit 1) y
                    where w.n < poll_keys.keys
                )
                select w.key from walk w
            ) g
        ) f
        limit poll_keys.keys
    ), name as (
        select 1 as entry, f.key, '-2147483648'::int as lane, 0::bigint as id, poll_keys.rows as most from found f
        union all
        select 2, w.key, w.lane, w.id, w.most
        from unnest(poll_keys.wanted, poll_keys.lanes, poll_keys.ids, poll_keys.limits) as w(key, lane, id, most)
    ), named as materialized (
        -- held: 1 if something keeps the others of that key waiting, 0 if something goes before them. Mostly nothing has begun
        -- that is not over, and one look shows that.
        select n.*, case when poll_keys.fifo and (
            select true from pgconductor.executions h
            where h.shard = poll_keys.shard and h.key between (select min(m.key) from name m) and (select max(m.key) from name m)
                and h.key is not null and (h.begun or h.waiting is not null)
            limit 1)
        then (
            select max((h.ready_xid is null)::int) from pgconductor.executions h
            where h.shard = poll_keys.shard and h.key = n.key and h.key is not null and (h.begun or h.waiting is not null)
        ) end as held
        from name n
    )
    select 0, null::bigint, null::xid8, count(*)::int, null::text, null::json, null::int, null::json, null::text, null::int,
        null::int, null::bigint, null::boolean, null::bigint, null::text, null::text, max(f.key), null::boolean, null::boolean
    from found f
    union all
    select q.entry, e.id, e.ready_xid, e.attempt, e.task, e.payload, e.payload_len, e.metadata, e.event,
        e.shard, e.lane, e.parent, e.journal,
        case when e.expires_at is not null then (extract(epoch from e.expires_at - pgconductor.now()) * 1000)::bigint end,
        case when e.event_at is not null
            then to_char(e.event_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') end,
        e.event_kind::text, q.key, e.begun, e.astray
    from named q
    cross join lateral (
        select b.* from (
            select x.id, x.ready_xid, x.attempt, x.task,
                case when pg_catalog.pg_column_size(x.payload) < 8192 then x.payload end as payload,
                pg_catalog.pg_column_size(x.payload) as payload_len, x.metadata, x.event, x.shard, x.lane,
                x.parent, x.journal, x.expires_at, x.event_at, x.event_kind, true as begun,
                x.key is distinct from pgconductor.key_of(x.payload, poll_keys.path) as astray
            from pgconductor.executions x
            where q.held = 0 and x.shard = poll_keys.shard and x.key = q.key and x.key is not null
                and (x.begun or x.waiting is not null) and x.ready_xid is not null
            limit q.most
        ) b
        union all
        select r.* from (
            select x.id, x.ready_xid, x.attempt, x.task,
                case when pg_catalog.pg_column_size(x.payload) < 8192 then x.payload end as payload,
                pg_catalog.pg_column_size(x.payload) as payload_len, x.metadata, x.event, x.shard, x.lane,
                x.parent, x.journal, x.expires_at, x.event_at, x.event_kind, false as begun,
                x.key is distinct from pgconductor.key_of(x.payload, poll_keys.path) as astray
            from pgconductor.executions x
            where x.shard = poll_keys.shard and x.key = q.key and x.key is not null and x.ready_xid is not null
                and (x.lane, x.id) > (q.lane, q.id)
            order by x.lane, x.id
            limit q.most
        ) r
    ) e
    where q.held is distinct from 1
$$;

comment on function pgconductor.poll_keys(int, text[], text[], text[], text, int, int, boolean, text[], int[], bigint[], int[]) is
'Engine, on the reader. Reads ready runs of a shard by their keys: of the next keys, as many as keys says, in ranges from starts[i] on and before ends[i], which ascend, and then from final on (null: no further), the first rows (entry 1); and of each key wanted[i] the first limits[i] behind (lanes[i], ids[i]) (entry 2). Within a key in the order of lane and id; with fifo those that have begun come first, and of a key of which one has begun that is not ready, or is parked, there are none. astray: the key is not what stands at path (null: it should have none). A row with entry 0 has in attempt how many keys the ranges gave, and in key the last of them. All else as poll has it.';
