create or replace function pgconductor.schema_refs(schema jsonb, base text)
returns jsonb
language sql immutable
as $$
    select case jsonb_typeof(schema)
        when 'object' then (
            select coalesce(jsonb_object_agg(m.key, case when m.key = '$ref' and jsonb_typeof(m.value) = 'string'
                then to_jsonb(pgconductor.schema_uri(m.value #>> '{}', own.base)) else pgconductor.schema_refs(m.value, own.base) end), '{}')
            from (select case when jsonb_typeof(schema -> '$id') = 'string' then pgconductor.schema_uri(schema ->> '$id', base) else base end as base) own
            cross join lateral jsonb_each(schema) m)
        when 'array' then (
            select coalesce(jsonb_agg(pgconductor.schema_refs(e, base) order by n), '[]') from jsonb_array_elements(schema) with ordinality u(e, n))
        else schema end
$$;

comment on function pgconductor.schema_refs(jsonb, text) is 'Engine. See schema_type: a schema, its values of $ref with all that they leave out. base: what it is called.';
