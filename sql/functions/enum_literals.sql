create or replace function pgconductor.enum_literals(enum oid, language text)
returns text
language sql stable
as $$
    select case language when 'python' then 'Literal[' || string_agg(to_json(e.enumlabel::text)::text, ', ' order by e.enumsortorder) || ']'
        else string_agg(to_json(e.enumlabel::text)::text, ' | ' order by e.enumsortorder) end
    from pg_catalog.pg_enum e
    where e.enumtypid = enum
$$;

comment on function pgconductor.enum_literals(oid, text) is 'Engine. For generate_types: the values of an enum, as a type of a language; null if it has none.';
