create or replace function pgconductor.settle_plain(ids bigint[], xids xid8[], results json[], keep boolean[],
    took_ms int[], node int)
returns int
language plpgsql volatile
as $$
declare
    present constant timestamptz := pgconductor.now();
    n int;
begin
    -- "between" and "is not distinct from", here and wherever a run is looked up, are no accident: with "=" a plan that was
    -- made while the table was empty may read the whole of an index (executions_ready, or executions_pkey for its
    -- order), which cost nothing then. These leave it but one way: the primary key, once for each run.
    with gone as (
        delete from pgconductor.executions e
        using unnest(settle_plain.ids, settle_plain.xids, settle_plain.results, settle_plain.keep,
            settle_plain.took_ms) as r(id, xid, result, keep, took_ms)
        where e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
            and e.journal is null and e.parent is null
        returning e.id, e.created_at, e.run_at, e.attempt, e.priority, e.awaited, e.queue, e.task, e.payload,
            e.metadata, e.event, e.event_at, e.event_kind, r.result, r.keep, r.took_ms
    ), kept as (
        insert into pgconductor.finished_executions (id, finished_at, created_at, run_at, took_ms, attempt, node,
            priority, state, queue, task, payload, metadata, event, event_at, event_kind, result)
        select g.id, present, g.created_at, g.run_at, g.took_ms, g.attempt + 1, settle_plain.node,
            g.priority, 'completed', g.queue, g.task, g.payload, g.metadata, g.event, g.event_at, g.event_kind, g.result
        from gone g
        where g.keep or g.awaited
    )
    select count(*) into n from gone;
    -- Not there, or not plain: somebody waits for it, or it has remembered something that only its client knew of.
    if n < cardinality(settle_plain.ids) then
        n := n + pgconductor.settle_full(settle_plain.ids, settle_plain.xids,
            array_fill('completed'::text, array[cardinality(settle_plain.ids)]), settle_plain.results,
            array_fill(null::json, array[cardinality(settle_plain.ids)]),
            array_fill(true, array[cardinality(settle_plain.ids)]),
            array_fill(null::bigint, array[cardinality(settle_plain.ids)]), settle_plain.took_ms, settle_plain.node);
    end if;
    return n;
end
$$;

comment on function pgconductor.settle_plain(bigint[], xid8[], json[], boolean[], int[], int) is
'Engine, on the writer. Completes runs. keep: write history (done for awaited ones in any case); results: null is JSON null; took_ms: milliseconds. Returns how many were still there. 55P03 or 40P01: a row was locked, nothing was done, use settle_locked. 23514: a day has no partition.';
