create or replace function pgconductor.is_watched(w pgconductor.watches)
returns boolean
language sql stable
as $$
    select exists (
        select from pg_catalog.pg_trigger t
        join pg_catalog.pg_class c on c.oid = t.tgrelid
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = w.schema and c.relname = w."table" and t.tgname = 'pgconductor_' || w.id)
$$;

comment on function pgconductor.is_watched(pgconductor.watches) is 'Engine. Its trigger is there, on the table that has this name now.';
