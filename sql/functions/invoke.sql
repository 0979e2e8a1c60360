create or replace function pgconductor.invoke(task text, payload text default 'null', queue text default null,
    priority int default 0, run_at timestamptz default null, delay interval default null,
    dedupe_key text default null, dedupe_for interval default null, throttle interval default null,
    debounce interval default null, max_wait interval default null, metadata json default null)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    dice constant float8 := random();
    present constant timestamptz := pgconductor.now();
    body json;
    due timestamptz := present;
    later boolean := false;
    home record;
    why text;
    made bigint;
begin
    if coalesce(invoke.dedupe_key, invoke.dedupe_for::text, invoke.throttle::text, invoke.debounce::text,
        invoke.max_wait::text) is not null
    then
        raise exception using errcode = 'PC006',
            message = 'pgconductor.invoke: dedupe_key, dedupe_for, throttle, debounce, max_wait: not available in this version';
    end if;

    if invoke.payload is null then
        body := 'null';
    else
        begin
            body := invoke.payload::json;
        exception when others then
            get stacked diagnostics why = pg_exception_detail;
            perform pgconductor.refuse_json('pgconductor.invoke: payload', invoke.payload, coalesce(nullif(why, ''), sqlerrm));
        end;
        if octet_length(invoke.payload) > 1024 then
            perform pgconductor.check_size('pgconductor.invoke', octet_length(invoke.payload));
        end if;
    end if;

    if invoke.run_at is not null or invoke.delay is not null then
        due := pgconductor.due_time('pgconductor.invoke', invoke.run_at, invoke.delay);
        later := due > present;
    end if;

    -- The shard is chosen by chance; its owner is looked up with it, as it may have to be woken.
    select s.id, s.owner, q.name into home
    from pgconductor.tasks t
    join pgconductor.queues q on q.name = coalesce(invoke.queue, t.queue)
    join pgconductor.shards s on s.id = q.shard_ids[1 + floor(dice * cardinality(q.shard_ids))::int]
    where t.name = invoke.task;
    if not found then
        perform pgconductor.find_home('pgconductor.invoke', invoke.task, invoke.queue);
        return pgconductor.invoke(task, payload, queue, priority, run_at, delay, metadata => metadata);
    end if;

    if invoke.priority <> 0 then
        perform pgconductor.use_lane('pgconductor.invoke', home.id, invoke.priority);
    end if;

    if later then
        insert into pgconductor.executions (ready_xid, created_at, run_at, shard, lane, priority, awaited, queue, task,
            payload, metadata)
        values (null, present, due, home.id, -coalesce(invoke.priority, 0), coalesce(invoke.priority, 0),
            pgconductor.is_on('pgconductor.await'), home.name, invoke.task, body, invoke.metadata)
        returning id into made;
        if due >= present + (select s.value::int * interval '1 ms' from pgconductor.settings s
            where s.name = 'poll_interval_ms')
        then
            return made;
        end if;
    else
        insert into pgconductor.executions (created_at, run_at, shard, lane, priority, awaited, queue, task,
            payload, metadata)
        values (present, due, home.id, -coalesce(invoke.priority, 0), coalesce(invoke.priority, 0),
            pgconductor.is_on('pgconductor.await'), home.name, invoke.task, body, invoke.metadata)
        returning id into made;
    end if;

    -- As wake() does; here for speed.
    if home.owner is not null and not pg_try_advisory_xact_lock_shared(1346847491, home.owner)
        and current_setting('pgconductor.notify', true) is distinct from 'off'
    then
        perform pg_notify('pgconductor_' || home.owner, '');
    end if;
    return made;
end
$$;

comment on function pgconductor.invoke(text, text, text, int, timestamptz, interval, text, interval, interval, interval, interval, json) is
'Creates an execution of a task, and returns its id, as part of the caller''s transaction. payload: JSON text. queue: instead of the task''s own. priority: higher first, -32768 to 32767. run_at or delay: when. PC001 task never declared, PC002 payload is not JSON, PC003 payload too large, PC004 bad queue name, PC005 bad time, PC006 option not available, PC009 bad priority.';
