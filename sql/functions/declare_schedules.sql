create or replace function pgconductor.declare_schedules(program text, task text, triggers json)
returns void
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    t record;
    extra text;
    what text;
    names text[] := '{}';
begin
    for t in
        select e.value, e.n - 1 as pos, coalesce(e.value ->> 'name', btrim(e.value ->> 'cron')) as name
        from json_array_elements(case json_typeof(triggers) when 'array' then triggers
            when 'object' then json_build_array(triggers) end) with ordinality e(value, n)
        where e.value -> 'cron' is not null
    loop
        what := format('task %s: triggers[%s]', task, t.pos);
        select k into extra from json_object_keys(t.value) k
        where k not in ('cron', 'name', 'timezone', 'payload', 'catchup', 'overlap') limit 1;
        if found then
            raise exception using errcode = 'PC012', message = format('%s: %s: a cron trigger has no such member', what, extra);
        elsif t.name = any (names) then
            raise exception using errcode = 'PC012', message = format('%s: name: %L stands there twice', what, t.name);
        end if;
        names := names || t.name;
        -- Programs say the same at every start. That takes no lock.
        continue when exists (
            select from pgconductor.schedules s
            where s.task = declare_schedules.task and s.name = t.name and s.program = declare_schedules.program
                and s.cron = t.value ->> 'cron' and lower(s.timezone) = lower(coalesce(t.value ->> 'timezone', 'UTC'))
                and s.payload::text = coalesce(t.value -> 'payload', 'null')::text
                and s.overlap = coalesce(t.value ->> 'overlap', 'allow')
                and s.catchup::text = case coalesce(t.value ->> 'catchup', 'skip') when 'skip' then '0' when 'last' then '1'
                    when 'all' then '2147483647' else t.value ->> 'catchup' end);
        perform pgconductor.put_schedule(what, program, task, t.name, t.value ->> 'cron', t.value -> 'payload',
            t.value ->> 'timezone', null, t.value ->> 'overlap', t.value ->> 'catchup');
    end loop;
    delete from pgconductor.schedules s
    where s.task = declare_schedules.task and s.program = declare_schedules.program and s.name <> all (names);
end
$$;

comment on function pgconductor.declare_schedules(text, text, json) is
'Engine. Those of declare_triggers that are schedules: {"cron", "name", "timezone", "payload", "overlap", "catchup"}.';
