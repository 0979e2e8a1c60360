create or replace function pgconductor.find_home(what text, task text, queue text)
returns void
language plpgsql volatile
as $$
begin
    if find_home.task is null or not exists (select from pgconductor.tasks t where t.name = find_home.task) then
        raise exception using errcode = 'PC001',
            message = format('%s: task: %s was never declared', what, coalesce(find_home.task, 'null')),
            hint = 'A task is declared by the program that serves it, in the configuration, or with pgconductor.declare_task().';
    end if;
    -- A queue may be used before a node serves it, as a task may.
    if queue is not null and queue !~ '^[a-z0-9_][a-z0-9_.-]{0,62}$' then
        raise exception using errcode = 'PC004',
            message = format('%s: queue: %L is not a queue''s name', what, queue),
            hint = 'Lower-case letters, digits and _ . - (not first: . -), 63 characters at most.';
    end if;
    perform pgconductor.ensure_queue(coalesce(queue, (select t.queue from pgconductor.tasks t where t.name = find_home.task)));
end
$$;

comment on function pgconductor.find_home(text, text, text) is
'Engine. Why no shard was found for an execution: raises PC001 or PC004, or makes the queue.';
