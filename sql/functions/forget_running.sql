create or replace function pgconductor.forget_running(ids bigint[], xids xid8[])
returns void
language sql volatile
as $$
    with free as materialized (
        select x.id, x.ready_xid
        from unnest(forget_running.ids, forget_running.xids) as r(id, xid)
        -- Not "=", see settle_plain.
        join pgconductor.running x on x.id between r.id and r.id and x.ready_xid = r.xid
        for update of x skip locked
    )
    delete from pgconductor.running x using free f
    where x.id between f.id and f.id and x.ready_xid = f.ready_xid
$$;

comment on function pgconductor.forget_running(bigint[], xid8[]) is
'Engine, on the writer. These runs are not running any more: they went back, or were cancelled. What another session has locked (to cancel it) stays.';
