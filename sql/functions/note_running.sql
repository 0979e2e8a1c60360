create or replace function pgconductor.note_running(ids bigint[], xids xid8[], shards int[], attempts int[],
    programs text[], pids int[], node int, ages_ms int[] default null)
returns void
language sql volatile
as $$
    insert into pgconductor.running as x (id, ready_xid, started_at, shard, node, pid, attempt, program)
    select r.id, r.xid, pgconductor.now() - make_interval(secs => coalesce(r.age_ms, 0) / 1000.0), r.shard,
        note_running.node, r.pid, r.attempt, r.program
    from unnest(note_running.ids, note_running.xids, note_running.shards, note_running.attempts, note_running.programs,
        note_running.pids, note_running.ages_ms) as r(id, xid, shard, attempt, program, pid, age_ms)
    -- Not "=", see settle_plain.
    where exists (select from pgconductor.executions e where e.id between r.id and r.id and e.ready_xid is not distinct from r.xid)
    on conflict (id, ready_xid) do update
    set started_at = excluded.started_at, shard = excluded.shard, node = excluded.node, pid = excluded.pid,
        attempt = excluded.attempt, program = excluded.program
$$;

comment on function pgconductor.note_running(bigint[], xid8[], int[], int[], text[], int[], int, int[]) is
'Engine, on the writer. Notes runs as running, or corrects what was noted. attempts: from 1; programs and pids: null before they are known; ages_ms: milliseconds since they began.';
