-- Control of the flow: what may run, when, and how often.

-- They return more than before, or take more.
drop function if exists pgconductor.load_tasks();
drop function if exists pgconductor.take(int, int[], bigint[]);
drop function if exists pgconductor.bad_item(json);
drop function if exists pgconductor.poll_wakes(int[], xid8[], bigint[], xid8[], int[]);
drop function if exists pgconductor.suspend_runs(bigint[], xid8[], boolean[], bigint[], int[], text[], bigint[], text[], text[],
    json[], int[], bigint[], text[], text[], text[], json[]);
drop function if exists pgconductor.emit(text, text);
drop function if exists pgconductor.emit(text, json);
drop function if exists pgconductor.emit(text, jsonb);
drop function if exists pgconductor.emit_once(text, text, bigint, boolean);

-- Since when nothing of it is handed out; null: it is.
alter table pgconductor.queues add column paused_at timestamptz;
alter table pgconductor.tasks add column paused_at timestamptz;

-- What is to be different about an execution that has not begun; null: nothing.
create type pgconductor.change as (
    payload  json,
    metadata json,
    run_at   timestamptz,
    priority smallint,
    queue    text
);
-- Of a wake without a key: what its execution is to be like, unless it runs.
alter table pgconductor.wakes add column change pgconductor.change;

-- metadata: of the execution that emitted it.
alter table pgconductor.events add column metadata json;

-- Since when nobody needs to look after its failure any more.
alter table pgconductor.finished_executions add column discarded_at timestamptz;

-- The keys that invokes have named. kind: dedupe, throttle or debounce. execution: the last that was made with the key. first_at:
-- when. until: of dedupe, how long the key counts when that has finished (null: as long as there is history of it); of throttle,
-- the end of the period; of debounce, when the execution is due: one that stands at another time is nobody's burst any more.
create table pgconductor.invoke_keys (
    execution bigint not null,
    until     timestamptz,
    first_at  timestamptz not null,
    kind      text collate "C" not null,
    task      text collate "C" not null,
    queue     text collate "C" not null,
    key       text collate "C" not null,
    primary key (kind, task, queue, key)
) with (fillfactor = 80, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);

-- What an invoke asks of its key. id: of the execution that it makes, if it may make one. span: how long to dedupe for, the
-- period of throttle, the quiet time of debounce; the rest is for the execution that a debounce changes.
create type pgconductor.claim as (
    id       bigint,
    kind     text,
    queue    text,
    key      text,
    span     interval,
    max_wait interval,
    priority int,
    payload  json,
    metadata json
);

-- concurrency: how many executions of it may run at once, on all nodes together. rate_limit: how many may begin in rate_ms
-- milliseconds, and rate_burst at once. window_…: when they may begin, see window_state(). limited: it has one of these. Then its executions are in a shard of their own in each
-- queue: there what runs is counted by one node. limited_xid: the transaction by which that was changed last.
alter table pgconductor.tasks
    add column concurrency int,
    add column rate_limit int,
    add column rate_ms bigint,
    add column rate_burst int,
    add column window_opens time,
    add column window_closes time,
    add column window_days int[],
    add column window_zone text,
    add column limited boolean not null default false,
    add column limited_xid xid8;

-- batch_size: so many executions of it are handed out at once at most, if its program takes several; batch_ms: how long the first
-- waits for others, in milliseconds. Null: nobody says.
alter table pgconductor.tasks
    add column batch_size int,
    add column batch_ms bigint;

-- task: only executions of that task are here, as it is limited, or was. Such a shard has no position. idle: its owner has
-- let go of it, in good order or not, and runs nothing of it.
alter table pgconductor.shards
    add column task text,
    add column idle boolean not null default false,
    alter column position drop not null;
create unique index shards_task on pgconductor.shards (queue, task) where task is not null;

-- Of its executions, unless their invoke says another.
alter table pgconductor.tasks add column priority smallint not null default 0;

-- What was visible to it when it last learned which tasks are limited, and since then it runs none of these anywhere else than
-- in their own shards. Null: it has not said so yet.
alter table pgconductor.nodes add column obeys pg_snapshot;

-- key_path: where in the payload an execution's key stands; null: it has none. Then the task is limited, and of each key
-- key_limit run at once (null: so many as may; 1 with key_fifo: in their order, one when the other has finished), and
-- key_rate_limit may begin in key_rate_ms milliseconds, key_rate_burst at once.
alter table pgconductor.tasks
    add column key_path text[],
    add column key_limit int,
    add column key_fifo boolean not null default false,
    add column key_rate_limit int,
    add column key_rate_ms bigint,
    add column key_rate_burst int;

-- key: see key_of(). Only executions in a shard of their own task have one: elsewhere a task's key is not looked at, and
-- the reader gives it to those that it moves there. begun: has a key and was handed out before: true, else null.
alter table pgconductor.executions
    add column key text collate "C",
    add column begun boolean;
-- What has a key is not in the log, but read by key; within one by lane, then in the order of ids.
drop index pgconductor.executions_ready;
create index executions_ready on pgconductor.executions (shard, lane, ready_xid, id)
    where ready_xid is not null and key is null and waiting is null;
create index executions_key on pgconductor.executions (shard, key, lane, id) where key is not null and ready_xid is not null;
-- What keeps the others of a FIFO key waiting, as long as it is not ready: it has begun, or is parked. One that has begun and is
-- ready goes before the others, whatever their lanes.
create index executions_held on pgconductor.executions (shard, key) where key is not null and (begun or waiting is not null);
-- What was invoked for later, and is changed by nobody but its owner: it has its ready_xid from the beginning, waiting is
-- 'delayed', and when its time has come it is read from here, in the order of run_at; nothing is written for that.
create index executions_due on pgconductor.executions (shard, lane, run_at, id) where waiting = 'delayed';
