create or replace function pgconductor.invoke(task text, payload text default 'null', queue text default null,
    priority int default null, run_at timestamptz default null, delay interval default null,
    dedupe_key text default null, dedupe_for interval default null, throttle interval default null,
    debounce interval default null, max_wait interval default null, metadata json default null)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- Every expression and every table costs here: what is usual takes one test, one row of tasks, and the insert.
    dice constant float8 := random();
    body json;
    why text;
    made bigint;
begin
    if num_nonnulls(invoke.queue, invoke.run_at, invoke.delay, invoke.dedupe_key, invoke.dedupe_for, invoke.throttle,
            invoke.debounce, invoke.max_wait) > 0
        or coalesce(invoke.priority, 0) <> 0 or coalesce(octet_length(invoke.payload), 9999) > 1024
    then
        if num_nonnulls(invoke.queue, invoke.run_at, invoke.delay, invoke.dedupe_key, invoke.dedupe_for,
                invoke.throttle, invoke.debounce, invoke.max_wait) = 0
            and coalesce(invoke.priority, 0) = 0 and invoke.payload is not null
        then
            perform pgconductor.check_size('pgconductor.invoke', octet_length(invoke.payload));
        else
            return pgconductor.invoke_general(task, payload, queue, priority, run_at, delay, dedupe_key,
                dedupe_for, throttle, debounce, max_wait, metadata);
        end if;
    end if;

    begin
        body := invoke.payload::json;
    exception when others then
        get stacked diagnostics why = pg_exception_detail;
        perform pgconductor.refuse_json('pgconductor.invoke', invoke.payload, coalesce(nullif(why, ''), sqlerrm));
    end;

    insert into pgconductor.executions (created_at, run_at, shard, awaited, queue, task, payload, metadata, expires_at, key)
    select pgconductor.now(), pgconductor.now(), t.shard_ids[1 + floor(dice * cardinality(t.shard_ids))::int],
        pgconductor.is_on('pgconductor.await'), t.queue, t.name, body, invoke.metadata,
        case when t.total_timeout_ms is not null then pgconductor.now() + t.total_timeout_ms * interval '1 ms' end,
        case when t.key_path is not null then pgconductor.key_of(body, t.key_path) end
    from pgconductor.tasks t
    where t.name = invoke.task and t.invocable and coalesce(invoke.priority, t.priority) = 0
        and pgconductor.awake(t.owners[1 + floor(dice * cardinality(t.shard_ids))::int])
    returning id into made;
    if made is null then
        -- It has a priority of its own, or does not exist.
        return pgconductor.invoke_general(task, payload, queue, priority, run_at, delay, dedupe_key,
            dedupe_for, throttle, debounce, max_wait, metadata);
    end if;
    return made;
end
$$;

comment on function pgconductor.invoke(text, text, text, int, timestamptz, interval, text, interval, interval, interval, interval, json) is
'Creates an execution of a task, and returns its id, as part of the caller''s transaction. payload: JSON text. queue: instead of the task''s own. priority: higher first, -32768 to 32767; the task''s, or 0, if null. run_at or delay: when. dedupe_key: where an unfinished execution of the task and queue was made with the same one, or one whose history is kept, its id is returned and nothing is made; dedupe_for: for so long from when that was made, in place of its history (0: while it is unfinished). throttle: null is returned and nothing made where the last was not made so long ago. debounce: it runs when so long no other was asked for, with the payload of the last, max_wait after the first at the latest; the id is that of the one that will run. throttle and debounce go by dedupe_key too, or by the task. PC001 task never declared, PC002 payload is not JSON, PC003 payload too large, PC004 bad queue name, PC005 bad time, PC009 bad priority, or options that do not go together, PC014 the task is started by its triggers only.';
