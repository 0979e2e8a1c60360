create or replace function pgconductor.settle_locked(ids bigint[], xids xid8[], outcomes text[], results json[],
    errors json[], retries boolean[], after_ms bigint[], took_ms int[], node int)
returns int[]
language plpgsql volatile
as $$
declare
    seen int[];
    free int[];
begin
    select coalesce(array_agg(r.pos), '{}') into seen
    from unnest(settle_locked.ids, settle_locked.xids) with ordinality as r(id, xid, pos)
    -- Not "=", see settle_plain.
    join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid;

    select coalesce(array_agg(l.pos), '{}') into free
    from (
        select r.pos
        from unnest(settle_locked.ids, settle_locked.xids) with ordinality as r(id, xid, pos)
        join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
        order by r.id
        for update of e skip locked
    ) l;

    -- Those that are gone altogether take part too: what was noted as running for them ends.
    perform pgconductor.settle_full(array_agg(r.id), array_agg(r.xid), array_agg(r.outcome), array_agg(r.result),
        array_agg(r.error), array_agg(r.retry), array_agg(r.after_ms), array_agg(r.took_ms), settle_locked.node)
    from unnest(settle_locked.ids, settle_locked.xids, settle_locked.outcomes, settle_locked.results,
        settle_locked.errors, settle_locked.retries, settle_locked.after_ms, settle_locked.took_ms) with ordinality
        as r(id, xid, outcome, result, error, retry, after_ms, took_ms, pos)
    where r.pos = any (free) or not r.pos = any (seen);

    return array(select p from unnest(seen) p where not p = any (free) order by p);
end
$$;

comment on function pgconductor.settle_locked(bigint[], xid8[], text[], json[], json[], boolean[], bigint[], int[], int) is
'Engine, on the writer. As settle_full, but leaves out rows that others have locked. Returns their positions (from 1): they were not done.';
