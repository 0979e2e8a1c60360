-- One statement, so that the rows and the snapshot belong together; stable and without settings of its own, so that it
-- is inlined into the prepared statement and planned there once.
create or replace function pgconductor.poll(owned int[], shards int[], lanes int[], xids xid8[], ids bigint[],
    untils xid8[], limits int[])
returns table (entry int, id bigint, ready_xid xid8, attempt int, task text, payload json, payload_len int,
    metadata json, event text, shard int, lane int, parent bigint, journal boolean, expires_ms bigint,
    event_at text, event_kind text)
language sql stable
as $$
    select 0, null::bigint, null::xid8, null::int, pg_catalog.pg_current_snapshot()::text, null::json, null::int,
        null::json, null::text, null::int, null::int, null::bigint, null::boolean,
        (extract(epoch from pgconductor.now() - pg_catalog.statement_timestamp()) * 1000)::bigint,
        null::text, null::text
    union all
    select -1, null, null, null, null, null, null, null, null, n.shard, n.lane, null, null, null, null, null
    from (
        select l.shard, l.lane from pgconductor.lanes l where l.shard = any (poll.owned)
        except
        select g.shard, g.lane from unnest(poll.shards, poll.lanes) as g(shard, lane)
    ) n
    union all
    select r.entry::int, e.id, e.ready_xid, e.attempt, e.task, e.payload, e.payload_len, e.metadata, e.event,
        e.shard, e.lane, e.parent, e.journal,
        case when e.expires_at is not null then (extract(epoch from e.expires_at - pgconductor.now()) * 1000)::bigint end,
        case when e.event_at is not null
            then to_char(e.event_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') end,
        e.event_kind::text
    from unnest(poll.shards, poll.lanes, poll.xids, poll.ids, poll.untils, poll.limits) with ordinality
        as r(shard, lane, xid, id, until, rows, entry)
    cross join lateral (
        -- Payloads are stored uncompressed, so their size is known without fetching them.
        select x.id, x.ready_xid, x.attempt, x.task,
            case when pg_catalog.pg_column_size(x.payload) < 8192 then x.payload end as payload,
            pg_catalog.pg_column_size(x.payload) as payload_len, x.metadata, x.event, x.shard, x.lane,
            x.parent, x.journal, x.expires_at, x.event_at, x.event_kind
        from pgconductor.executions x
        where x.shard = r.shard and x.lane = r.lane and x.ready_xid is not null and x.key is null and x.waiting is null
            and (x.ready_xid, x.id) > (r.xid, r.id) and x.ready_xid <= r.until
            -- None of these can be seen yet, and there may be a million of them: somebody's open transaction, which every
            -- poll would go through.
            and x.ready_xid < (select pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()))
        order by x.ready_xid, x.id
        limit r.rows
    ) e
$$;

comment on function pgconductor.poll(int[], int[], int[], xid8[], bigint[], xid8[], int[]) is
'Engine, on the reader. Reads ready runs. Range i: of shards[i] and lanes[i], those after (xids[i], ids[i]) up to transaction untils[i], limits[i] at most, in order; its rows have entry i (from 1). One row with entry 0 has the snapshot in task, and in expires_ms by how many milliseconds fake_now() has put the clock forward. Rows with entry -1 name lanes of the owned shards that are in no range. payload is null from 8 KiB on (see fetch); payload_len: bytes, to within 4. parent, journal, expires_ms (milliseconds that are left of its overall limit) are null for what is none of a child, possibly with steps, limited. event_kind: as in executions.';
