create or replace function pgconductor.probe(node int, n bigint)
returns void
language sql volatile
as $$
    select pg_catalog.pg_notify('pgconductor_' || probe.node, 'probe ' || probe.n)
$$;

comment on function pgconductor.probe(int, bigint) is
'Engine. Sends "probe n" to the node''s own channel: if it does not arrive, its LISTEN is dead.';
