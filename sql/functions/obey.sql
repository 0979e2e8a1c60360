create or replace function pgconductor.obey(node int, seen text)
returns void
language plpgsql volatile
as $$
begin
    update pgconductor.nodes n set obeys = obey.seen::pg_snapshot where n.id = obey.node;
    -- The owner of a limited task's shard may be waiting for that.
    perform pg_notify('pgconductor', 'nodes');
end
$$;

comment on function pgconductor.obey(int, text) is
'Engine. A node runs no execution of a limited task but from the shard of that task, for all that was limited in what the snapshot shows (see load_tasks).';
