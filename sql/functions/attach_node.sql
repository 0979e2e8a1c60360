create or replace function pgconductor.attach_node(node int, host text, pid int, version text)
returns table (node_id int, system_id bigint, backend_pid int, backend_start text, server_version int,
    max_payload bigint, poll_interval_ms int)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    holder int;
    me int := attach_node.node;
begin
    if me is null then
        insert into pgconductor.nodes (host, pid, version, started_at, seen_at)
        values (attach_node.host, attach_node.pid, attach_node.version, pgconductor.now(), pgconductor.now())
        returning id into me;
    else
        insert into pgconductor.nodes as n (id, host, pid, version, started_at, seen_at)
        values (me, attach_node.host, attach_node.pid, attach_node.version, pgconductor.now(), pgconductor.now())
        on conflict (id) do update set host = excluded.host, pid = excluded.pid, version = excluded.version,
            seen_at = excluded.seen_at;
    end if;

    select l.pid into holder from pgconductor.live_nodes() l where l.node = me;
    if holder is distinct from pg_backend_pid() and not pg_try_advisory_lock(1346847489, me) then
        -- An id belongs to one process for ever, so this is its own former writer, which has not noticed yet.
        perform pg_terminate_backend(holder);
        raise exception using errcode = '55006',
            message = format('pgconductor.attach_node: node %s: a former session still holds its alive lock', me),
            detail = format('The backend %s was told to end.', holder),
            hint = 'Try again.';
    end if;

    return query
        select me, pgconductor.system_id(), a.pid, (extract(epoch from a.backend_start) * 1000000)::bigint::text,
            current_setting('server_version_num')::int,
            (select s.value::bigint from pgconductor.settings s where s.name = 'max_payload'),
            (select s.value::int from pgconductor.settings s where s.name = 'poll_interval_ms')
        from pg_stat_get_activity(pg_backend_pid()) a;
end
$$;

comment on function pgconductor.attach_node(int, text, int, text) is
'Engine, on the writer. Registers a node (node: its id, null for a new one) and takes its alive lock for the session. backend_start: microseconds since 1970, for check_writer. max_payload in bytes, poll_interval_ms in milliseconds. 55006: another session holds the lock; it was told to end.';
