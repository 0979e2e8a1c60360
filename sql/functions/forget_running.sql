create or replace function pgconductor.forget_running(ids bigint[], xids xid8[])
returns void
language sql volatile
as $$
    delete from pgconductor.running x
    using unnest(forget_running.ids, forget_running.xids) as r(id, xid)
    -- Not "=", see settle_plain.
    where x.id between r.id and r.id and x.ready_xid = r.xid
$$;

comment on function pgconductor.forget_running(bigint[], xid8[]) is
'Engine, on the writer. These runs are not running any more: they went back, or were cancelled.';
