create or replace function pgconductor.declare_triggers(program text, task text, triggers json)
returns void
language plpgsql volatile
as $$
declare
    what constant text := format('task %s', task);
    t record;
    kind text;
begin
    if triggers is not null and json_typeof(triggers) not in ('array', 'object') then
        raise exception using errcode = 'PC012', message = format('%s: triggers: not a JSON array', what);
    end if;
    for t in
        select e.value, e.n - 1 as pos from json_array_elements(case json_typeof(triggers) when 'array' then triggers
            when 'object' then json_build_array(triggers) end) with ordinality e(value, n)
    loop
        kind := case when json_typeof(t.value) <> 'object' then null when t.value -> 'cron' is not null then 'cron'
            when t.value -> 'event' is not null then 'event'
            when t.value -> 'table' is not null then 'change'
            when t.value -> 'invocable' is not null then 'invocable' end;
        if kind is null then
            raise exception using errcode = 'PC012', message = format('%s: triggers[%s]: not a trigger', what, t.pos),
                detail = format('It is: %s', left(t.value::text, 100)),
                hint = 'A trigger is {"invocable": true}, {"cron": "0 9 * * *", "name": "daily"}, {"event": "order.paid"} or {"table": "users", "operation": "insert"}.';
        end if;
    end loop;
    -- A program that does not say how its task is started lets it be invoked; a configuration leaves it to the program.
    perform pgconductor.set_invocable(task, program, case when triggers is null or json_typeof(triggers) = 'array'
            and json_array_length(triggers) = 0 then case when program <> 'config' then true end
        else exists (select from json_array_elements(case json_typeof(triggers) when 'array' then triggers
            else json_build_array(triggers) end) e(value) where e.value ->> 'invocable' = 'true') end);
    perform pgconductor.declare_schedules(program, task, triggers);
    perform pgconductor.declare_subscriptions(program, task, triggers);
end
$$;

comment on function pgconductor.declare_triggers(text, text, json) is
'Engine. What a program says its task is started by, all of it: what it has said before and does not say now is gone. program: as source in declare_task. triggers: a list of objects, or one; null for none. PC012: a trigger that is none, named by its position.';
