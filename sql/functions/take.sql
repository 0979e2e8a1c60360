create or replace function pgconductor.take(node int, shards int[], epochs bigint[])
returns table (shard int, queue text, epoch bigint, floor xid8, unclean boolean, xmax xid8, task text)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    here constant bigint := pgconductor.system_id();
    s record;
    ahead xid8;
    left_ids bigint[];
    left_xids xid8[];
    n int;
    fresh boolean := false;
begin
    -- Two nodes that take shards of one queue: the second one sees what the first one did, for refresh_routes.
    perform from pgconductor.queues q
    where q.name in (select x.queue from pgconductor.shards x where x.id = any (take.shards))
    order by q.name for update;

    for s in
        select x.id, x.queue, x.task, x.epoch, x.owner, x.floor, x.system_id,
            x.owner = take.node and x.epoch = w.epoch as kept
        from unnest(take.shards, take.epochs) as w(shard, epoch)
        join pgconductor.shards x on x.id = w.shard
        order by x.id
        for update of x
    loop
        if not exists (
            select from pg_locks l
            where l.locktype = 'advisory' and l.classid = 1346847490 and l.objsubid = 2 and l.granted
                and l.pid = pg_backend_pid() and l.objid = s.id::bigint::oid)
        then
            raise exception using errcode = '55006',
                message = format('pgconductor.take: shard %s: this session does not hold its lock', s.id);
        end if;

        shard := s.id;
        queue := s.queue;
        task := s.task;
        floor := s.floor;
        fresh := fresh or not coalesce(s.kept, false);
        unclean := s.owner is not null and not coalesce(s.kept, false);
        epoch := case when s.kept then s.epoch
            else greatest(s.epoch + 1, (extract(epoch from clock_timestamp()) * 1000)::bigint) end;

        if unclean then
            -- What the former owner was running, and may have been ended by. A row that a client holds locked stays
            -- as it is, and is run again.
            select array_agg(r.id order by r.id), array_agg(r.ready_xid order by r.id) into left_ids, left_xids
            from pgconductor.running r where r.shard = s.id;
            n := coalesce(cardinality(left_ids), 0);
            if n > 0 then
                perform pgconductor.settle_locked(left_ids, left_xids, array_fill('failed'::text, array[n]),
                    array_fill(null::json, array[n]),
                    array_fill(json_build_object('code', 'crash', 'message',
                        format('node %s ended while it ran this', s.owner)), array[n]),
                    array_fill(true, array[n]), array_fill(null::bigint, array[n]), array_fill(null::int, array[n]),
                    s.owner);
            end if;
        end if;

        -- A restored dump brings the numbers of another cluster with it. Rows that seem to be of the future would be
        -- read when this cluster's transactions get there.
        ahead := pg_snapshot_xmax(pg_current_snapshot());
        if s.system_id is distinct from here or s.floor > ahead then
            floor := '0';
        end if;
        if exists (
            select from pgconductor.lanes l
            cross join lateral (
                select from pgconductor.executions e
                where e.shard = s.id and e.lane = l.lane and e.key is null and e.waiting is null
                    and e.ready_xid > greatest(ahead, pg_current_xact_id())
                limit 1) e
            where l.shard = s.id)
            -- What has keys, or is delayed, is not looked through by these numbers: only if they have come from elsewhere.
            or s.system_id <> here or s.floor > ahead
        then
            update pgconductor.executions e set ready_xid = pg_current_xact_id(), journal = true
            where e.shard = s.id and e.ready_xid > greatest(ahead, pg_current_xact_id());
        end if;

        update pgconductor.wakes w set xid = pg_current_xact_id()
        where w.shard = s.id and w.xid > greatest(ahead, pg_current_xact_id());

        update pgconductor.shards x
        set epoch = take.epoch, owner = take.node, floor = take.floor, system_id = here, taken_at = pgconductor.now(), idle = false
        where x.id = s.id;
        xmax := pg_snapshot_xmax(pg_current_snapshot());
        return next;
    end loop;
    perform pgconductor.refresh_routes();
    -- Whoever has runs that only this node serves can hand them over from now on.
    if fresh then
        perform pg_notify('pgconductor', 'nodes');
    end if;
end
$$;

comment on function pgconductor.take(int, int[], bigint[]) is
'Engine, on the writer. Takes shards over, whose locks this session has got in an earlier statement. epochs: for each, the epoch under which this node had it, 0 if it had not. Same owner and epoch: it goes on under it. unclean: the former owner did not release it; its running executions were settled as crashed. Read from floor on; what is below xmax must be noted as running before it is dispatched, when unclean. task: whose shard it is, null for a common one. 55006: a lock is not held.';
