create or replace function pgconductor.live_nodes()
returns table (node int, pid int)
language sql stable
as $$
    select l.objid::bigint::int, l.pid
    from pg_catalog.pg_locks l
    where l.locktype = 'advisory' and l.classid = 1346847489 and l.objsubid = 2 and l.granted
        and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
$$;

comment on function pgconductor.live_nodes() is
'Engine. The nodes that are alive (their alive lock is held) and the process id of the backend of their writer.';
