create or replace function pgconductor.save_step(execution bigint, token text, key text, result json default null)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    e record;
    valid text;
begin
    if save_step.key is null or save_step.key = '' then
        raise exception using errcode = 'PC009', message = 'pgconductor.save_step: key: it is empty';
    end if;
    -- Key share: whoever cancels it, or writes its outcome, waits for this transaction. Steps of one execution in several
    -- transactions at a time do not wait for each other.
    select x.id, x.ready_xid, x.journal, x.moved, s.epoch, s.owner into e
    from pgconductor.executions x
    join pgconductor.shards s on s.id = x.shard
    where x.id = save_step.execution
    for key share of x;
    -- Null when it is not ready, or nobody's.
    valid := e.ready_xid::text || '.' || e.epoch || '.' || e.owner;
    if not coalesce(save_step.token = valid or e.moved = valid || '=' || save_step.token, false) then
        raise exception using errcode = 'PC010',
            message = format('pgconductor.save_step: token: this run of execution %s is no more', save_step.execution),
            hint = 'It was cancelled, or is run elsewhere by now. Roll back: whoever runs it now does this step.';
    end if;

    -- Its node does not hear of this step: the row says that there is something to be kept. That lock keeps a retry from
    -- being written too. Where another step is just saying so, it need not be said twice.
    if e.journal is null then
        update pgconductor.executions x set journal = true
        where x.id = (
            select y.id from pgconductor.executions y
            where y.id = save_step.execution and y.journal is null
            for no key update skip locked);
    else
        perform from pgconductor.executions x where x.id = save_step.execution for share;
    end if;

    insert into pgconductor.steps (execution, saved_xid, key, result)
    values (save_step.execution, e.ready_xid, save_step.key, save_step.result)
    on conflict do nothing;
    if not found then
        -- The next run would meet it again, and not find it among what is saved.
        if exists (select from pgconductor.steps s
            where s.execution = save_step.execution and s.key = save_step.key and s.due_at is not null)
        then
            raise exception using errcode = 'PC009',
                message = format('pgconductor.save_step: key: execution %s waits for something under %L', save_step.execution,
                    save_step.key);
        end if;
        raise exception using errcode = 'PC011',
            message = format('pgconductor.save_step: key: execution %s has something under %L already', save_step.execution,
                save_step.key),
            hint = 'Either this key is used twice, or the step was done before: what is saved comes with the next run.';
    end if;
end
$$;

comment on function pgconductor.save_step(bigint, text, text, json) is
'Saves the result of a step as part of the caller''s transaction: it is committed with what else that transaction writes, or not at all. token: what the handler was given with this run. PC010: the run is no more; PC011: something is saved under the key; PC009: the key is empty, or waited for. All mean: roll back.';
