-- One statement, as poll is. A microsecond or two for each row; poll_keys takes ten for each key.
create or replace function pgconductor.scan_keys(shard int, path text[], start text, rows int, fifo boolean)
returns table (entry int, id bigint, ready_xid xid8, attempt int, task text, payload json, payload_len int,
    metadata json, event text, shard int, lane int, parent bigint, journal boolean, expires_ms bigint,
    event_at text, event_kind text, key text, begun boolean, astray boolean, held boolean)
language sql stable
as $$
    select 3, x.id, x.ready_xid, x.attempt, x.task,
        case when pg_catalog.pg_column_size(x.payload) < 8192 then x.payload end,
        pg_catalog.pg_column_size(x.payload), x.metadata, x.event, x.shard, x.lane, x.parent, x.journal,
        case when x.expires_at is not null then (extract(epoch from x.expires_at - pgconductor.now()) * 1000)::bigint end,
        case when x.event_at is not null
            then to_char(x.event_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') end,
        x.event_kind::text, x.key, coalesce(x.begun, false),
        x.key is distinct from pgconductor.key_of(x.payload, scan_keys.path),
        -- Mostly nothing has begun that is not over, and one look shows that.
        case when scan_keys.fifo and (
            select true from pgconductor.executions h
            where h.shard = scan_keys.shard and h.key >= scan_keys.start
                and h.key is not null and (h.begun or h.waiting is not null) and h.ready_xid is null
            limit 1)
        then (
            select true from pgconductor.executions h
            where h.shard = scan_keys.shard and h.key = x.key
                and h.key is not null and (h.begun or h.waiting is not null) and h.ready_xid is null
            limit 1) is not null
        else false end
    from pgconductor.executions x
    where x.shard = scan_keys.shard and x.key >= scan_keys.start and x.key is not null and x.ready_xid is not null
    order by x.key, x.lane, x.id
    limit scan_keys.rows
$$;

comment on function pgconductor.scan_keys(int, text[], text, int, boolean) is
'Engine, on the reader. What poll_keys would find from a key on, for many keys of which each has little: so many ready runs in the order of their keys, and within one of lane and id. Of the last key there may be more. begun: handed out before. held: with fifo, one of that key has begun and is not ready, or is parked.';
