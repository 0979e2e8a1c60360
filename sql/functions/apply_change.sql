-- Who calls it holds the row locked, and may write it: not what is ready and belongs to another session's shard.
create or replace function pgconductor.apply_change(execution bigint, change pgconductor.change)
returns void
language plpgsql volatile
as $$
declare
    present constant timestamptz := pgconductor.now();
    dice constant float8 := random();
    e record;
    target int;
    own boolean;
    level int;
    due timestamptz;
begin
    -- Not "=", see settle_plain.
    select x.shard, x.queue, x.task, x.priority, x.ready_xid, x.run_at, x.ready_xid is not null and x.waiting is null as ready,
        x.waiting is not distinct from 'suspended' and x.ready_xid is null as asleep, x.key is not null as keyed,
        x.key is not null and x.ready_xid is null and (x.begun or x.waiting is not null) as held
    into e
    from pgconductor.executions x where x.id between apply_change.execution and apply_change.execution;
    target := e.shard;
    level := coalesce(change.priority, e.priority);
    if change.queue <> e.queue then
        -- See find_home.
        select coalesce((select pgconductor.own_shard(t, q.name) from pgconductor.tasks t where t.name = e.task),
            q.shard_ids[1 + floor(dice * cardinality(q.shard_ids))::int]) into target
        from pgconductor.queues q where q.name = change.queue;
    end if;
    own := case when target = e.shard then e.keyed
        else exists (select from pgconductor.shards s where s.id = target and s.task is not null) end;
    -- When it waits for something else than a time, that is not the time that matters; unless it is of those that are
    -- parked, which may have to wait for a time first, or may be served elsewhere.
    due := case when e.asleep then null
        when e.ready_xid is null and e.run_at = 'infinity' then case
            when change.run_at > present then change.run_at
            when target <> e.shard then present end
        when e.ready then coalesce(change.run_at, present)
        else coalesce(change.run_at, e.run_at) end;

    update pgconductor.executions x
    set payload = coalesce(change.payload, x.payload), metadata = coalesce(change.metadata, x.metadata),
        priority = level, lane = -level, shard = target,
        queue = case when target <> e.shard then change.queue else x.queue end,
        key = case when own then pgconductor.key_of(coalesce(change.payload, x.payload),
            (select t.key_path from pgconductor.tasks t where t.name = e.task)) end,
        -- One that was ready is another run from now on.
        ready_xid = case when due <= present then pg_current_xact_id() end,
        run_at = case when due is null then x.run_at when e.ready and due <= present then x.run_at else due end,
        waiting = case when due is null then x.waiting end,
        expires_at = case when change.run_at is not null and due is not null and x.attempt = 0 and x.journal is null
            and isfinite(x.run_at) then x.expires_at + (due - x.run_at) else x.expires_at end,
        journal = case when x.journal or exists (
            select from pgconductor.steps s where s.execution between apply_change.execution and apply_change.execution) then true end
    where x.id between apply_change.execution and apply_change.execution;

    perform pgconductor.use_lane('pgconductor.edit', target, level);
    -- Others of the key that it had may go on.
    if e.held and (target <> e.shard or change.payload is not null) then
        perform pgconductor.wake(array[e.shard]);
    end if;
    -- Also who is to resume it later, and may know of no time that is so near.
    if coalesce(due, present) < present + pgconductor.poll_interval() then
        perform pgconductor.wake(array[target]);
    end if;
end
$$;

comment on function pgconductor.apply_change(bigint, pgconductor.change) is
'Engine. Changes an execution that does not run: its payload, metadata, priority, queue (which exists), and when it runs. A ready one is another run then.';
