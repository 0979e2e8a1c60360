create or replace function pgconductor.note_running(ids bigint[], xids xid8[], shards int[], attempts int[],
    programs text[], pids int[], node int, ages_ms int[] default null)
returns void
language sql volatile
as $$
    with given as materialized (
        select r.id, r.xid, r.shard, r.attempt, r.program, r.pid,
            pgconductor.now() - make_interval(secs => coalesce(r.age_ms, 0) / 1000.0) as started_at
        from unnest(note_running.ids, note_running.xids, note_running.shards, note_running.attempts,
            note_running.programs, note_running.pids, note_running.ages_ms)
            as r(id, xid, shard, attempt, program, pid, age_ms)
    ), free as materialized (
        -- One that a client is about to cancel stays as it was noted before: it must not hold up the others.
        select x.id, x.ready_xid
        from given r
        join pgconductor.running x on x.id between r.id and r.id and x.ready_xid = r.xid
        for update of x skip locked
    ), corrected as (
        update pgconductor.running x
        set started_at = r.started_at, shard = r.shard, node = note_running.node, pid = r.pid, attempt = r.attempt,
            program = r.program
        from given r
        join free f on f.id = r.id and f.ready_xid = r.xid
        where x.id between r.id and r.id and x.ready_xid = r.xid
    )
    insert into pgconductor.running (id, ready_xid, started_at, shard, node, pid, attempt, program)
    select r.id, r.xid, r.started_at, r.shard, note_running.node, r.pid, r.attempt, r.program
    from given r
    -- Not "=", see settle_plain.
    where exists (select from pgconductor.executions e where e.id between r.id and r.id and e.ready_xid is not distinct from r.xid)
        and not exists (select from pgconductor.running x where x.id between r.id and r.id and x.ready_xid = r.xid)
$$;

comment on function pgconductor.note_running(bigint[], xid8[], int[], int[], text[], int[], int, int[]) is
'Engine, on the writer. Notes runs as running, or corrects what was noted, but for what another session has locked. attempts: from 1; programs and pids: null before they are known; ages_ms: milliseconds since they began.';
