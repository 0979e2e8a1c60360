create or replace function pgconductor.check_writer(pid int, backend_start text)
returns boolean
language sql stable
as $$
    select exists (
        select from pg_catalog.pg_stat_get_activity(check_writer.pid) a
        where (extract(epoch from a.backend_start) * 1000000)::bigint::text = check_writer.backend_start)
$$;

comment on function pgconductor.check_writer(int, text) is
'Engine, on the reader. Whether the writer''s backend (as attach_node returned it) runs on this server now. If not, the two connections do not see the same run of the server, and both must be dropped.';
