-- There is no leader: every node looks when a tick is due, and a schedule goes to the one that locks it first. Its
-- execution and its next tick are committed together, so there is one of each tick, whoever dies when.
create or replace function pgconductor.fire_schedules(max int, out fired int, out next_due_ms bigint)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    present constant timestamptz := pgconductor.now();
    tasks text[];
    names text[];
    next_at timestamptz;
begin
    fired := 0;
    select array_agg(d.task), array_agg(d.name) into tasks, names
    from (
        select s.task, s.name from pgconductor.schedules s
        where s.enabled and s.next_at <= present
        order by s.next_at
        limit fire_schedules.max
        for update skip locked
    ) d;
    if tasks is not null then
        begin
            fired := pgconductor.fire(tasks, names, present);
        exception when others then
            -- Of the server, or of locks: later.
            if sqlstate ~ '^(40|53|55|57|58)' then
                raise;
            end if;
            -- One of them cannot be computed, because its time zone is gone, say. The others go on.
            for i in 1..cardinality(tasks) loop
                begin
                    fired := fired + pgconductor.fire(tasks[i:i], names[i:i], present);
                exception when others then
                    if sqlstate ~ '^(40|53|55|57|58)' then
                        raise;
                    end if;
                    raise warning 'pgconductor: schedule % of task % is stopped: %', names[i], tasks[i], sqlerrm;
                    update pgconductor.schedules s set next_at = 'infinity', problem = sqlerrm
                    where s.task = tasks[i] and s.name = names[i];
                end;
            end loop;
        end;
    end if;

    select min(s.next_at) into next_at from pgconductor.schedules s where s.enabled;
    -- What is due still is locked by another node, or there were more of them.
    if next_at < 'infinity' then
        next_due_ms := greatest(case
            when next_at > present then ceil(extract(epoch from next_at - present - (clock_timestamp() - statement_timestamp())) * 1000)
            when tasks is null then 100 else 0 end, 0);
    end if;
end
$$;

comment on function pgconductor.fire_schedules(int) is
'Engine. Makes the executions of schedules that are due, max schedules at most. fired: how many were made. next_due_ms: milliseconds until the next tick of any, null if there is none.';
