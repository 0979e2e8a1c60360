create or replace function pgconductor.unschedule(task text, name text)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    declared_by text;
begin
    select s.program into declared_by from pgconductor.schedules s
    where s.task = unschedule.task and s.name = unschedule.name for update;
    if not found then
        return false;
    elsif declared_by is not null then
        raise exception using errcode = 'PC012',
            message = format('pgconductor.unschedule: %L of %s is declared by %s, and would come back with it', name, task, declared_by),
            hint = 'Take it out there; or pause it, with pgconductor.enable_schedule(task, name, false).';
    end if;
    delete from pgconductor.schedules s where s.task = unschedule.task and s.name = unschedule.name;
    return true;
end
$$;

comment on function pgconductor.unschedule(text, text) is
'Removes a schedule that schedule() has made; executions that it has made stay. False if there is none of that task and name. PC012: it was declared by a program or the configuration.';
