create or replace function pgconductor.lock_shards(shards int[])
returns table (shard int, locked boolean)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    -- An advisory lock counts how often it was taken; unlock_shards must let go at once.
    have constant int[] := array(
        select l.objid::bigint::int from pg_locks l
        where l.locktype = 'advisory' and l.classid = 1346847490 and l.objsubid = 2 and l.granted
            and l.pid = pg_backend_pid()
            and l.database = (select d.oid from pg_database d where d.datname = current_database()));
begin
    foreach shard in array shards loop
        locked := shard = any (have) or pg_try_advisory_lock(1346847490, shard);
        return next;
    end loop;
end
$$;

comment on function pgconductor.lock_shards(int[]) is
'Engine, on the writer. Tries to take the locks of shards for the session. Take them over with take(), in a later statement.';
