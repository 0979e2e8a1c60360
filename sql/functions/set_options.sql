create or replace function pgconductor.set_options(task text, options json)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    said jsonb;
    home text;
    batches boolean;
begin
    select coalesce(t.sources -> 'set', '{}'),
        exists (select from jsonb_each(t.sources) s where s.key like 'code:%' and jsonb_typeof(s.value -> 'batch') = 'object')
    into said, batches from pgconductor.tasks t where t.name = set_options.task for update;
    if not found then
        return false;
    end if;
    if json_typeof(set_options.options) is distinct from 'object' then
        raise exception using errcode = 'PC008', message = 'pgconductor.set_options: options: not a JSON object';
    end if;
    -- How many is an option, but not that there may be several.
    if json_typeof(set_options.options -> 'batch') = 'object' and not batches then
        raise exception using errcode = 'PC009',
            message = format('pgconductor.set_options: options: batch: no program says that %L takes several executions at once', set_options.task),
            hint = 'A program says so with the task; a command (exec) runs one at a time.';
    end if;
    -- The queue is no option of declare_task, but a parameter.
    said := said - array(select json_object_keys(set_options.options))
        || pgconductor.check_options('pgconductor.set_options',
            (select coalesce(json_object_agg(o.key, o.value), '{}') from json_each(set_options.options) o where o.key <> 'queue'));
    home := case when set_options.options -> 'queue' is null then said ->> 'queue' else set_options.options ->> 'queue' end;
    perform pgconductor.declare_task(set_options.task, home, (said - 'queue')::json, 'set');
    return true;
end
$$;

comment on function pgconductor.set_options(text, json) is
'Changes options of a task at run time, which counts before what the configuration and programs say. options: as for declare_task, and queue; what is not named stays as it was set; null: no longer set, what the others say counts again; false: none, for a limit, a key, a window, a timeout. False if there is no such task. PC009 also for batch where no program says that it takes several executions at once; else errors as declare_task.';
