create or replace function pgconductor.enable_schedule(task text, name text, enabled boolean default true)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    update pgconductor.schedules s
    set enabled = coalesce(enable_schedule.enabled, true),
        next_at = case when s.enabled and s.problem is null then s.next_at
            else pgconductor.next_tick(s.times, s.timezone, pgconductor.now()) end,
        problem = null
    where s.task = enable_schedule.task and s.name = enable_schedule.name;
    if found and current_setting('pgconductor.notify', true) is distinct from 'off' then
        perform pg_notify('pgconductor', 'schedules');
    end if;
    return found;
end
$$;

comment on function pgconductor.enable_schedule(text, text, boolean) is
'Resumes a schedule, or pauses it (enabled false), also one that a program has declared: it stays so, whatever is deployed. What it misses meanwhile is not made up for. False if there is none of that task and name.';
