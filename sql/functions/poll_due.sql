-- As poll() is, so that it is inlined.
-- Clients change what is delayed, behind its lock, as long as it is not due by the clock. Who had it locked before it was read
-- here has left a mark, even if the transaction is still going; who locks it later sees that it is due.
create or replace function pgconductor.poll_due(shards int[], lanes int[], times timestamptz[], ids bigint[], limits int[])
returns table (entry int, id bigint, ready_xid xid8, attempt int, task text, payload json, payload_len int,
    metadata json, event text, shard int, lane int, parent bigint, journal boolean, expires_ms bigint,
    event_at text, event_kind text, run_at timestamptz, touched boolean, next_due_ms bigint)
language sql stable
as $$
    select r.entry::int, e.id, e.ready_xid, e.attempt, e.task, e.payload, e.payload_len, e.metadata, e.event,
        e.shard, e.lane, e.parent, e.journal,
        case when e.expires_at is not null then (extract(epoch from e.expires_at - pgconductor.now()) * 1000)::bigint end,
        case when e.event_at is not null
            then to_char(e.event_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') end,
        e.event_kind::text, e.run_at, e.touched, null::bigint
    from unnest(poll_due.shards, poll_due.lanes, poll_due.times, poll_due.ids, poll_due.limits) with ordinality
        as r(shard, lane, run_at, id, rows, entry)
    cross join lateral (
        select x.id, x.ready_xid, x.attempt, x.task,
            case when pg_catalog.pg_column_size(x.payload) < 8192 then x.payload end as payload,
            pg_catalog.pg_column_size(x.payload) as payload_len, x.metadata, x.event, x.shard, x.lane,
            x.parent, x.journal, x.expires_at, x.event_at, x.event_kind, x.run_at,
            x.xmax <> '0'::xid as touched
        from pgconductor.executions x
        where x.shard = r.shard and x.lane = r.lane and x.waiting = 'delayed'
            and (x.run_at, x.id) > (r.run_at, r.id) and x.run_at <= pgconductor.now()
        order by x.run_at, x.id
        limit r.rows
    ) e
    union all
    select -r.entry::int, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
        ceil(extract(epoch from n.run_at - pgconductor.now()) * 1000)::bigint
    from unnest(poll_due.shards, poll_due.lanes) with ordinality as r(shard, lane, entry)
    cross join lateral (
        select x.run_at from pgconductor.executions x
        where x.shard = r.shard and x.lane = r.lane and x.waiting = 'delayed' and x.run_at > pgconductor.now()
        order by x.run_at
        limit 1
    ) n
$$;

comment on function pgconductor.poll_due(int[], int[], timestamptz[], bigint[], int[]) is
'Engine, on the reader. Reads delayed runs that are due. Range i: of shards[i] and lanes[i], those after (times[i], ids[i]), limits[i] at most, in the order of run_at; its rows have entry i (from 1). touched: somebody has locked it, or still has: it may have been changed, see make_ready. A row with entry -i has in next_due_ms the milliseconds until the next one is due. All else as poll has it.';
