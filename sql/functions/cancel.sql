create or replace function pgconductor.cancel(id bigint, reason text default null)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    present constant timestamptz := pgconductor.now();
    e pgconductor.executions;
    r pgconductor.running;
    owner int;
begin
    delete from pgconductor.executions x where x.id = cancel.id returning x.* into e;
    if not found then
        return false;
    end if;
    delete from pgconductor.running x where x.id = cancel.id returning x.* into r;

    perform pgconductor.ensure_partition(present);
    -- Two rows of one moment: cancelled, retried and cancelled again within one statement. The last one stands.
    insert into pgconductor.finished_executions as f (id, finished_at, created_at, run_at, took_ms, attempt, node,
        priority, state, queue, task, payload, metadata, event, error)
    select e.id, present, e.created_at, nullif(e.run_at, 'infinity'),
        extract(epoch from present - r.started_at) * 1000, coalesce(r.attempt, e.attempt), r.node,
        e.priority, 'cancelled', e.queue, e.task, e.payload, e.metadata, e.event,
        json_build_object('code', 'cancelled', 'message', coalesce(cancel.reason, 'cancelled'))
    where e.awaited or not exists (select from pgconductor.tasks t where t.name = e.task and t.keep_fail = '0')
    on conflict (id, finished_at) do update set state = excluded.state, error = excluded.error;

    -- Only a ready one can be in the hands of a node.
    if e.ready_xid is not null and current_setting('pgconductor.notify', true) is distinct from 'off' then
        select s.owner into owner from pgconductor.shards s where s.id = e.shard;
        if owner is not null then
            perform pg_notify('pgconductor_' || owner, 'cancel ' || cancel.id || ' ' || e.ready_xid);
        end if;
    end if;
    return true;
end
$$;

comment on function pgconductor.cancel(bigint, text) is
'Cancels an unfinished execution, and stops it if it is running. False if there is no unfinished one with this id.';
