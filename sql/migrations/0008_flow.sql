-- Control of the flow: what may run, when, and how often.

-- They return more than before, or take more.
drop function if exists pgconductor.load_tasks();
drop function if exists pgconductor.poll_wakes(int[], xid8[], bigint[], xid8[], int[]);
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
