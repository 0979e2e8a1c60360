-- Nobody can emit an event with a tab in its name. What starts an execution is called by what stands before it.
create or replace function pgconductor.change_key(w pgconductor.watches)
returns text
language sql immutable
as $$
    select pg_catalog.replace(w.schema || '.' || w."table" || '.' || w.operation, E'\t', ' ') || E'\t' || w.id
$$;

comment on function pgconductor.change_key(pgconductor.watches) is
'Engine. The key in the log of events of what a trigger of ours has seen: public.users.insert, and behind a tab which of them.';
