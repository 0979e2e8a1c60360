create or replace function pgconductor.gone(ids bigint[], xids xid8[])
returns setof int
language sql stable
as $$
    select r.pos::int
    from unnest(gone.ids, gone.xids) with ordinality as r(id, xid, pos)
    -- Not "=", see settle_plain.
    where not exists (
        select from pgconductor.executions e
        where e.id between r.id and r.id and e.ready_xid is not distinct from r.xid)
$$;

comment on function pgconductor.gone(bigint[], xid8[]) is
'Engine. Which of these runs are no more: their positions, from 1. For a node that may not have heard of a cancel.';
