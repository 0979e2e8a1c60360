create or replace function pgconductor.lock_dispatcher()
returns boolean
language sql volatile
as $$
    select exists (
            select from pg_catalog.pg_locks l
            where l.locktype = 'advisory' and l.classid = 1346847493 and l.objsubid = 2 and l.granted
                and l.pid = pg_catalog.pg_backend_pid())
        or pg_catalog.pg_try_advisory_lock(1346847493, 0)
$$;

comment on function pgconductor.lock_dispatcher() is
'Engine, on the writer. Tries to take the lock of the node that dispatches events, for the session.';
