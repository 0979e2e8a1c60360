create or replace function pgconductor.set_progress(ids bigint[], xids xid8[], percents int[], notes text[])
returns void
language sql volatile
as $$
    with free as materialized (
        select x.id, x.ready_xid, r.percent, r.note
        from unnest(set_progress.ids, set_progress.xids, set_progress.percents, set_progress.notes)
            as r(id, xid, percent, note)
        -- Not "=", see settle_plain.
        join pgconductor.running x on x.id between r.id and r.id and x.ready_xid = r.xid
        for update of x skip locked
    )
    update pgconductor.running x
    set percent = coalesce(least(greatest(f.percent, 0), 100), x.percent), note = coalesce(left(f.note, 1000), x.note)
    from free f
    where x.id between f.id and f.id and x.ready_xid = f.ready_xid
$$;

comment on function pgconductor.set_progress(bigint[], xid8[], int[], text[]) is
'Engine, on the writer. How far runs that are noted as running say to be. Null leaves what was said before. What another session has locked stays as it is.';
