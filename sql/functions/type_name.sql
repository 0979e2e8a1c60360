create or replace function pgconductor.type_name(type oid, schemas text[])
returns text
language sql stable
as $$
    -- Names that would be the same, or one of what Python imports, are told apart by numbers.
    select named.called || coalesce('_' || nullif(named.turn, 1), '')
    from (
        select t.oid, c.called, row_number() over (partition by c.called order by n.nspname collate "C", t.typname collate "C")
            + (c.called in ('Any', 'Literal', 'Never', 'NotRequired', 'Optional', 'TypeAlias', 'TypedDict'))::int as turn
        from pg_catalog.pg_type t
        join pg_catalog.pg_namespace n on n.oid = t.typnamespace
        cross join lateral (select pgconductor.class_name(n.nspname, t.typname) as called) c
        where n.nspname = any (schemas) and (t.typtype = 'e' or t.typtype = 'c' and exists (select from pg_catalog.pg_class r where r.oid = t.typrelid and r.relkind = 'c'))
    ) named
    where named.oid = type_name.type
$$;

comment on function pgconductor.type_name(oid, text[]) is 'Engine. For generate_types: what an enum or a composite type of one of the schemas is called in Python.';
