create or replace function pgconductor.declare_subscriptions(program text, task text, triggers json)
returns void
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    wanted pgconductor.subscriptions[] := '{}';
    one pgconductor.subscriptions;
    change pgconductor.watches;
    changes pgconductor.watches[] := '{}';
    t record;
    why text;
begin
    for t in
        select e.value, e.n - 1 as pos from json_array_elements(case json_typeof(declare_subscriptions.triggers) when 'array'
            then declare_subscriptions.triggers when 'object' then json_build_array(declare_subscriptions.triggers) end)
            with ordinality e(value, n)
        where e.value -> 'event' is not null or e.value -> 'cron' is null and e.value -> 'table' is not null
    loop
        if t.value -> 'event' is null then
            change := pgconductor.read_change(t.value);
            if change.problem is not null then
                raise exception using errcode = 'PC012',
                    message = format('task %s: triggers[%s]: %s', declare_subscriptions.task, t.pos, change.problem),
                    hint = 'A change''s trigger is {"schema": "public", "table": "users", "operation": "insert", "columns": "id,email", "when": "new.email is not null"}.';
            end if;
            -- Its condition is the trigger's. Until its place is known, which takes a lock, it stands there by what it is.
            changes := changes || change;
            one.key := coalesce((select pgconductor.change_key(w) from pgconductor.watches w where w.what = change.what), change.what);
            one."when" := null;
            one.fields := null;
            if not exists (select from unnest(wanted) w where w.key = one.key) then
                wanted := wanted || one;
            end if;
            continue;
        end if;
        one.key := t.value ->> 'event';
        one."when" := t.value ->> 'when';
        one.fields := case json_typeof(t.value -> 'fields')
            when 'array' then array(select btrim(f) from json_array_elements_text(t.value -> 'fields') f)
            when 'string' then array(select btrim(f) from regexp_split_to_table(t.value ->> 'fields', ',') f) end;
        why := case
            when json_typeof(t.value -> 'event') <> 'string' or one.key !~ '^[^[:cntrl:]]{1,200}$'
                then format('event: %s is not an event''s name', t.value -> 'event')
            when json_typeof(t.value -> 'when') not in ('string', 'null') then 'when: not a string'
            when json_typeof(t.value -> 'fields') not in ('string', 'array', 'null') or '' = any (one.fields)
                then 'fields: neither a list of names nor names with commas between them'
            else 'when: ' || pgconductor.filter_fault(one."when") end;
        why := coalesce(why, (select format('%s: there are event, when and fields', k)
            from json_object_keys(t.value) k where k not in ('event', 'when', 'fields') limit 1));
        if why is not null then
            raise exception using errcode = 'PC012',
                message = format('task %s: triggers[%s]: %s', declare_subscriptions.task, t.pos, why),
                hint = 'An event''s trigger is {"event": "order.paid", "when": "payload->>''state'' = ''new''", "fields": "id,user.name"}.';
        end if;
        if not exists (select from unnest(wanted) w where row(w.key, w."when", w.fields) is not distinct from row(one.key, one."when", one.fields))
        then
            wanted := wanted || one;
        end if;
    end loop;

    -- Programs say this at every start. When that is nothing new it takes no lock.
    if (select count(*) = cardinality(wanted) and bool_and(s.broken is null and exists (
                select from unnest(wanted) w where row(w.key, w."when", w.fields) is not distinct from row(s.key, s."when", s.fields)))
            is not false
        from pgconductor.subscriptions s
        where s.program = declare_subscriptions.program and s.task = declare_subscriptions.task)
    then
        return;
    end if;

    -- Two nodes that say it at the same time.
    perform from pgconductor.tasks x where x.name = declare_subscriptions.task for update;
    foreach change in array changes loop
        one.key := pgconductor.change_key(pgconductor.need_watch(change));
        one."when" := null;
        one.fields := null;
        wanted := array(select w from unnest(wanted) w where w.key not in (change.what, one.key)) || one;
    end loop;
    with gone as (
        delete from pgconductor.subscriptions s
        where s.program = declare_subscriptions.program and s.task = declare_subscriptions.task and not exists (
            select from unnest(wanted) w where row(w.key, w."when", w.fields) is not distinct from row(s.key, s."when", s.fields))
        returning s.key, s.seen
    )
    -- What takes the place of another one takes up where that was.
    insert into pgconductor.subscriptions (key, task, program, fields, "when", seen)
    select w.key, declare_subscriptions.task, declare_subscriptions.program, w.fields, w."when",
        coalesce((select g.seen from gone g where g.key = w.key order by pg_snapshot_xmin(g.seen) limit 1), pg_current_snapshot())
    from unnest(wanted) with ordinality w
    where not exists (
        select from pgconductor.subscriptions s
        where s.program = declare_subscriptions.program and s.task = declare_subscriptions.task
            and row(w.key, w."when", w.fields) is not distinct from row(s.key, s."when", s.fields))
    order by w.ordinality;
    update pgconductor.subscriptions s set broken = null
    where s.program = declare_subscriptions.program and s.task = declare_subscriptions.task and s.broken is not null;
    perform pgconductor.shadow_subscriptions(declare_subscriptions.task);
end
$$;

comment on function pgconductor.declare_subscriptions(text, text, json) is
'Engine. To which events a program subscribes a task: those triggers of a list that have an event or a table. What it has said before and does not say now is gone. PC012: a bad trigger.';
