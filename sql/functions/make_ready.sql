create or replace function pgconductor.make_ready(ids bigint[], xids xid8[])
returns int
language sql volatile
as $$
    with free as materialized (
        select e.id
        from unnest(make_ready.ids, make_ready.xids) as r(id, xid)
        -- Not "=", see settle_plain.
        join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
        for update of e skip locked
    ), done as (
        update pgconductor.executions e
        set ready_xid = pg_current_xact_id(), waiting = null,
            journal = case when e.journal or exists (
                select from pgconductor.steps s where s.execution between f.id and f.id) then true end
        from free f where e.id between f.id and f.id
        returning 1
    )
    select count(*)::int from done
$$;

comment on function pgconductor.make_ready(bigint[], xid8[]) is
'Engine, on the writer. Makes delayed runs ready that are due, and that nobody has locked. Returns how many.';
