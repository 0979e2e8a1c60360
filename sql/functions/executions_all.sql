-- One row for each execution: the unfinished one, else the latest of its history.
create or replace view pgconductor.executions_all as
select e.id, e.task, e.queue,
    case when r.id is not null then 'running'
        when e.ready_xid is not null or e.run_at = 'infinity' then 'ready'
        else 'delayed' end as state,
    e.waiting,
    e.priority::int as priority,
    coalesce(r.attempt, e.attempt) as attempt,
    e.payload, e.metadata, e.event,
    null::json as result,
    e.error,
    e.created_at,
    nullif(e.run_at, 'infinity') as run_at,
    r.started_at,
    null::timestamptz as finished_at,
    null::int as took_ms,
    coalesce(r.node, case when e.ready_xid is not null then (select s.owner from pgconductor.shards s where s.id = e.shard) end) as node,
    r.program, r.pid
from pgconductor.executions e
left join pgconductor.running r on r.id = e.id and r.ready_xid = e.ready_xid
union all
select f.id, f.task, f.queue, f.state, null, f.priority::int, f.attempt, f.payload, f.metadata, f.event,
    case when f.state = 'completed' then coalesce(f.result, 'null'::json) end,
    f.error, f.created_at, f.run_at, f.finished_at - make_interval(secs => f.took_ms / 1000.0), f.finished_at,
    f.took_ms, f.node, null, null
from pgconductor.finished_executions f
where not exists (
    select from pgconductor.retried t
    where t.id = f.id
        and (exists (select from pgconductor.executions e where e.id = f.id)
            or exists (select from pgconductor.finished_executions g where g.id = f.id and g.finished_at > f.finished_at)));

comment on view pgconductor.executions_all is
'All executions, unfinished and finished, one row each. state: ready (waiting: why it must wait), delayed, running (for a second or longer), completed, failed, cancelled. attempt: attempts so far, or the current one. run_at: when it was or is due. error: of the last attempt that failed.';
