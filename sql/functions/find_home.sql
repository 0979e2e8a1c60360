create or replace function pgconductor.find_home(what text, task text, queue text)
returns table (home text, home_shard int)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    dice constant float8 := random();
    chosen text := find_home.queue;
    allowed boolean;
begin
    if chosen is not null and chosen !~ '^[a-z0-9_][a-z0-9_.-]{0,62}$' then
        raise exception using errcode = 'PC004',
            message = format('%s: queue: %L is not a queue''s name', what, chosen),
            hint = 'Lower-case letters, digits and _ . - (not first: . -), 63 characters at most.';
    end if;
    select coalesce(chosen, t.queue), t.invocable into chosen, allowed from pgconductor.tasks t where t.name = find_home.task;
    if not found then
        raise exception using errcode = 'PC001',
            message = format('%s: task: %s was never declared', what, coalesce(quote_literal(find_home.task), 'null')),
            hint = 'A task is declared by the program that serves it, in the configuration, or with pgconductor.declare_task().';
    elsif not allowed then
        raise exception using errcode = 'PC014',
            message = format('%s: task: %L cannot be invoked: it is started by its triggers only', what, find_home.task),
            hint = 'What declares it can add the trigger {"invocable": true}; `pgconductor tasks` says what that is.';
    end if;
    -- A queue may be used before a node serves it, as a task may.
    perform pgconductor.ensure_queue(chosen);
    -- So that executions with a key are read in their order from the first one on.
    if exists (select from pgconductor.tasks t where t.name = find_home.task and t.key_path is not null and t.queue <> chosen) then
        perform pgconductor.ensure_shard(chosen, find_home.task);
    end if;
    return query
        -- In another queue than its own a limited task may have no shard of its own yet: the reader makes it, and moves them there.
        select q.name, coalesce(pgconductor.own_shard(t, q.name), q.shard_ids[1 + floor(dice * cardinality(q.shard_ids))::int])
        from pgconductor.queues q
        join pgconductor.tasks t on t.name = find_home.task
        where q.name = chosen;
end
$$;

comment on function pgconductor.find_home(text, text, text) is
'Engine. The queue (null: the task''s own) and a shard, chosen by chance, for an execution. PC001 task never declared, PC004 bad queue name, PC014 it is started by triggers only.';
