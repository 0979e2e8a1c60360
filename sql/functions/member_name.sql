create or replace function pgconductor.member_name(name text)
returns text
language sql immutable
as $$
    select case when name ~ '^[A-Za-z_$][A-Za-z0-9_$]*$' then name else to_json(name)::text end
$$;

comment on function pgconductor.member_name(text) is 'Engine. For generate_types and generate_tasks: a property''s name, as it stands in TypeScript.';
