create or replace function pgconductor.undeclare(source text, task text)
returns void
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    t pgconductor.tasks;
    rest jsonb;
begin
    select x.* into t from pgconductor.tasks x where x.name = undeclare.task for update;
    delete from pgconductor.schedules s where s.task = undeclare.task and s.program = undeclare.source;
    delete from pgconductor.subscriptions s where s.task = undeclare.task and s.program = undeclare.source;
    perform pgconductor.shadow_subscriptions(undeclare.task);
    if t.name is null or not t.sources ? undeclare.source then
        return;
    end if;
    rest := t.sources - undeclare.source;
    if exists (select from jsonb_object_keys(rest) k where k not in ('set', 'code:client', 'retired')) then
        perform pgconductor.set_sources(t, rest);
        perform pgconductor.set_invocable(undeclare.task, undeclare.source, null);
        return;
    end if;
    -- Its settings stay as they are: it may come back, and what is invoked meanwhile is to be found where it is then.
    perform pgconductor.set_sources(t, rest - '{code:client,retired}'::text[] || jsonb_build_object('retired', (
        select coalesce(jsonb_object_agg(v.option, v.value), '{}') from pgconductor.task_values(t.sources - 'set') v)));
    update pgconductor.tasks x set retired_at = pgconductor.now() where x.name = undeclare.task;
end
$$;

comment on function pgconductor.undeclare(text, text) is
'Engine. A source does not declare a task any more: what it said of it counts no more, and its triggers go. The task is retired if only clients, or nobody, declare it now.';
