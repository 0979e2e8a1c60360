create or replace function pgconductor.fetch(ids bigint[], xids xid8[])
returns table (id bigint, ready_xid xid8, payload json)
language sql stable
as $$
    select e.id, e.ready_xid, e.payload
    from unnest(ids, xids) as r(id, xid)
    -- Not "=", see settle_plain.
    join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
$$;

comment on function pgconductor.fetch(bigint[], xid8[]) is
'Engine, on the reader. The payloads of runs; none for a run that is no longer there.';
