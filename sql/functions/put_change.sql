create or replace function pgconductor.put_change(id bigint, change pgconductor.change)
returns boolean
language plpgsql volatile
as $$
declare
    e record;
    -- So far is the clock by now: its owner may have read, and begun, what was not due when this statement began.
    present timestamptz;
begin
    loop
        -- What is ready, or due, may be locked by nobody but its owner: who settles waits for no lock.
        select x.shard, x.ready_xid, x.waiting, x.run_at into e from pgconductor.executions x where x.id = put_change.id;
        present := pgconductor.clock_now();
        if not found then
            return false;
        elsif e.ready_xid is null or e.waiting = 'delayed' and e.run_at > present then
            -- What is delayed, parked or suspended belongs to whoever has locked it; the engine comes back later.
            select x.shard, x.ready_xid, x.waiting, x.run_at into e
            from pgconductor.executions x where x.id = put_change.id for update;
            present := pgconductor.clock_now();
            continue when not found or not (e.ready_xid is null or e.waiting = 'delayed' and e.run_at > present);
            if change.run_at is not null and e.waiting is not distinct from 'suspended' then
                raise exception using errcode = 'PC009',
                    message = format('pgconductor.edit: run_at: execution %s has begun, and is suspended: what it waits for says when it goes on', put_change.id);
            end if;
        elsif exists (select from pgconductor.running r where r.id = put_change.id and r.ready_xid = e.ready_xid) then
            return false;
        -- A shard that was given up in good order runs nothing; while this transaction holds its lock, nobody takes it.
        elsif (select s.owner from pgconductor.shards s where s.id = e.shard) is not null
            or not pg_try_advisory_xact_lock(1346847490, e.shard)
            or (select s.owner from pgconductor.shards s where s.id = e.shard for share) is not null
        then
            insert into pgconductor.wakes (execution, shard, change)
            select put_change.id, s.id, put_change.change
            from pgconductor.shards s where s.id = e.shard and pgconductor.awake(s.owner);
            return true;
        else
            perform from pgconductor.executions x
            where x.id = put_change.id and x.ready_xid = e.ready_xid and x.shard = e.shard for update;
            continue when not found;
        end if;
        perform pgconductor.apply_change(put_change.id, put_change.change);
        return true;
    end loop;
end
$$;

comment on function pgconductor.put_change(bigint, pgconductor.change) is
'Engine. Has an unfinished execution changed that does not run: at once, or by the owner of its shard when it is ready, since nobody else knows whether it runs. False if there is none, or if it is known to run. PC009: it is suspended, and a time makes no sense.';
