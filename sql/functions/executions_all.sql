-- One row for each execution: the unfinished one, else the latest of its history.
-- Each half is one table without a condition, so that it is planned as one table is: the last twenty by id come from
-- the indexes, whatever there is. Only executions that were retried have several rows, and only for these is it looked
-- which one counts.
create or replace view pgconductor.executions_all as
select u.id, u.task, u.queue, u.state, u.waiting, u.priority, u.attempt, u.payload, u.metadata, u.event, u.result,
    u.error, u.created_at, u.run_at, u.started_at, u.finished_at, u.took_ms, u.node, u.program, u.pid, u.parent,
    u.percent, u.note, u.event_at,
    case u.event_kind when 's' then 'schedule' when 'e' then 'event' when 'p' then 'event' when 'c' then 'change' else 'invoke' end as event_kind,
    u.discarded_at, u.key
from (
    select e.id, e.task, e.queue,
        case when e.ready_xid is null then case when e.waiting = 'suspended' then 'suspended'
                when e.run_at = 'infinity' then 'ready' else 'delayed' end
            when exists (select from pgconductor.running r where r.id = e.id and r.ready_xid = e.ready_xid) then 'running'
            when pgconductor.delayed(e.waiting, e.run_at) then 'delayed'
            else 'ready' end as state,
        case when e.waiting = 'suspended' and e.ready_xid is null then case
                when e.pending is null then (select s.key collate "default" from pgconductor.steps s
                    where s.execution = e.id order by s.pos desc limit 1)
                else (select string_agg(k.key collate "default", ', ' order by k.pos) from (
                    select s.key, s.pos from pgconductor.steps s where s.execution = e.id and s.due_at is not null
                    order by s.pos limit 3) k) || case when e.pending > 3 then ', ...' else '' end end
            when pgconductor.delayed(e.waiting, e.run_at) then null
            when e.ready_xid is not null and (exists (select from pgconductor.tasks t where t.name = e.task and t.paused_at is not null)
                    or exists (select from pgconductor.queues q where q.name = e.queue and q.paused_at is not null))
                and not exists (select from pgconductor.running r where r.id = e.id and r.ready_xid = e.ready_xid) then 'paused'
            when e.ready_xid is not null and not exists (select from pgconductor.running r where r.id = e.id and r.ready_xid = e.ready_xid)
                then pgconductor.blocked_by(e.task)
            else nullif(e.waiting, 'delayed') end as waiting, e.priority::int as priority,
        coalesce((select r.attempt from pgconductor.running r where r.id = e.id and r.ready_xid = e.ready_xid),
            e.attempt) as attempt,
        e.payload, e.metadata, e.event, null::json as result, e.error, e.created_at,
        nullif(e.run_at, 'infinity') as run_at,
        (select r.started_at from pgconductor.running r where r.id = e.id and r.ready_xid = e.ready_xid) as started_at,
        null::timestamptz as finished_at, null::int as took_ms,
        (select r.node from pgconductor.running r where r.id = e.id and r.ready_xid = e.ready_xid) as node,
        (select r.program from pgconductor.running r where r.id = e.id and r.ready_xid = e.ready_xid) as program,
        (select r.pid from pgconductor.running r where r.id = e.id and r.ready_xid = e.ready_xid) as pid,
        e.parent,
        (select r.percent from pgconductor.running r where r.id = e.id and r.ready_xid = e.ready_xid) as percent,
        (select r.note from pgconductor.running r where r.id = e.id and r.ready_xid = e.ready_xid) as note,
        e.event_at, null::timestamptz as discarded_at, e.event_kind,
        coalesce(e.key, pgconductor.execution_key(e.task, e.payload)) collate "default" as key
    from pgconductor.executions e
    union all
    select f.id, f.task, f.queue, f.state, null::text, f.priority::int, f.attempt, f.payload, f.metadata, f.event,
        case when f.state = 'completed' then coalesce(f.result, 'null'::json) end, f.error, f.created_at, f.run_at,
        f.finished_at - f.took_ms * interval '1 ms', f.finished_at, f.took_ms, f.node, null::text, null::int,
        f.parent, null::smallint, null::text, f.event_at, f.discarded_at, f.event_kind,
        pgconductor.execution_key(f.task, f.payload)
    from pgconductor.finished_executions f
) u
where case when u.finished_at is null then true
    when not exists (select from pgconductor.retried t where t.id = u.id) then true
    -- Not "exists", for which all unfinished ones may be read into a hash table.
    else (select e.id from pgconductor.executions e where e.id = u.id) is null
        and not exists (select from pgconductor.finished_executions g where g.id = u.id and g.finished_at > u.finished_at)
    end;

comment on view pgconductor.executions_all is
'All executions, unfinished and finished, one row each. state: ready (waiting: why it must wait), delayed, suspended (waiting: for what), running (for a second or longer), completed, failed, cancelled. attempt: attempts so far, or the current one. run_at: when it was or is due. error: of the last attempt that failed. parent: the execution that waits, or waited, for it. percent, note: how far it says to be, while it runs. event: what it was started by, null for invoke; event_at: the time that it is for; event_kind: invoke, schedule, event or change. discarded_at: since when nobody needs to look after its failure. key: of a task with a concurrency_key, a fifo_key or a rate_limit with one: which key it is of.';
