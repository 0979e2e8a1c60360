create or replace function pgconductor.leave_dispatcher(node int)
returns void
language sql volatile
as $$
    update pgconductor.dispatcher d set node = null where d.node = leave_dispatcher.node;
    select pg_catalog.pg_advisory_unlock(1346847493, 0);
    select pg_catalog.pg_notify('pgconductor', 'dispatcher')
$$;

comment on function pgconductor.leave_dispatcher(int) is
'Engine, on the writer. Another node is to dispatch events from now on.';
