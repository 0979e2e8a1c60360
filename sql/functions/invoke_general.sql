create or replace function pgconductor.invoke_general(task text, payload text, queue text, priority int,
    run_at timestamptz, delay interval, dedupe_key text, dedupe_for interval, throttle interval, debounce interval,
    max_wait interval, metadata json)
returns bigint
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    present constant timestamptz := pgconductor.now();
    due timestamptz := present;
    level int;
    body json := 'null';
    why text;
    fault record;
    home record;
    made bigint;
    held bigint;
begin
    if num_nonnulls(dedupe_key, dedupe_for, throttle, debounce, max_wait) > 0 then
        select f.code, f.why into fault
        from pgconductor.flow_fault(dedupe_key, dedupe_for, throttle, debounce, max_wait, num_nonnulls(run_at, delay) > 0) f;
        if fault.code is not null then
            raise exception using errcode = fault.code, message = 'pgconductor.invoke: ' || fault.why;
        end if;
    end if;

    if invoke_general.payload is not null then
        -- Its size first: a text far too large is not looked at.
        perform pgconductor.check_size('pgconductor.invoke', octet_length(invoke_general.payload));
        begin
            body := invoke_general.payload::json;
        exception when others then
            get stacked diagnostics why = pg_exception_detail;
            perform pgconductor.refuse_json('pgconductor.invoke', invoke_general.payload,
                coalesce(nullif(why, ''), sqlerrm));
        end;
    end if;

    if num_nonnulls(invoke_general.run_at, invoke_general.delay) > 0 then
        due := pgconductor.due_time('pgconductor.invoke', invoke_general.run_at, invoke_general.delay);
    elsif debounce is not null then
        due := present + least(debounce, max_wait);
    end if;

    select h.home as queue, h.home_shard as shard into home
    from pgconductor.find_home('pgconductor.invoke', invoke_general.task, invoke_general.queue) h;
    level := coalesce(invoke_general.priority, (select t.priority from pgconductor.tasks t where t.name = invoke_general.task));
    if level <> 0 then
        perform pgconductor.use_lane('pgconductor.invoke', home.shard, level);
    end if;
    made := nextval('pgconductor.executions_id_seq');
    if num_nonnulls(dedupe_key, dedupe_for, throttle, debounce) > 0 then
        held := (pgconductor.claim_keys(invoke_general.task, array[row(made,
            case when throttle is not null then 'throttle' when debounce is not null then 'debounce' else 'dedupe' end,
            home.queue, coalesce(dedupe_key, invoke_general.task), coalesce(throttle, debounce, dedupe_for), max_wait,
            level, body, invoke_general.metadata)::pgconductor.claim], pgconductor.is_on('pgconductor.await')))[1];
        if held <> made then
            return nullif(held, 0);
        end if;
    end if;
    insert into pgconductor.executions (id, ready_xid, created_at, run_at, shard, lane, priority, awaited, queue, task,
        payload, metadata, expires_at, key, waiting)
    select made, case when due <= present or w.delayed then pg_current_xact_id() end, present, due, home.shard, -level, level,
        pgconductor.is_on('pgconductor.await'), home.queue, invoke_general.task, body, invoke_general.metadata,
        due + t.total_timeout_ms * interval '1 ms', k.key, case when w.delayed then 'delayed' end
    from pgconductor.tasks t
    cross join lateral (
        select case when home.shard = pgconductor.own_shard(t, home.queue) then pgconductor.key_of(body, t.key_path) end as key) k
    -- See executions_due: not that of a burst, which clients change until its time has come, and none with a key.
    cross join lateral (select due > present and debounce is null and k.key is null as delayed) w
    where t.name = invoke_general.task;
    -- What is due later is found by the next slow poll in time.
    if due < present + pgconductor.poll_interval() then
        perform pgconductor.wake(array[home.shard]);
    end if;
    return made;
end
$$;

comment on function pgconductor.invoke_general(text, text, text, int, timestamptz, interval, text, interval, interval, interval, interval, json) is
'Engine. What invoke does when it is given options, or a large payload, or the task has a priority.';
