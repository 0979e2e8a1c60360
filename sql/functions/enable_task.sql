create or replace function pgconductor.enable_task(name text, enabled boolean default true)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update pgconductor.tasks t
    set paused_at = case when not enable_task.enabled then coalesce(t.paused_at, pgconductor.now()) end
    where t.name = enable_task.name;
    if found and current_setting('pgconductor.notify', true) is distinct from 'off' then
        perform pg_notify('pgconductor', 'tasks');
    end if;
    return found;
end
$$;

comment on function pgconductor.enable_task(text, boolean) is
'Resumes a task, or pauses it (enabled false): its executions wait, those that run go on. It stays so, whatever is deployed. False if there is no such task.';
