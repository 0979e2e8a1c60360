create or replace function pgconductor.schema_merged(schema jsonb, bodies jsonb, depth int)
returns jsonb
language plpgsql immutable
as $$
declare
    properties jsonb := coalesce(schema -> 'properties', '{}');
    required jsonb := coalesce(schema -> 'required', '[]');
    one jsonb;
    part jsonb;
begin
    if depth > 16 or jsonb_typeof(schema) <> 'object' or schema ?| '{anyOf,oneOf,const,enum}' or coalesce(schema ->> 'type', 'object') <> 'object' then
        return null;
    end if;
    for one in
        select e from jsonb_array_elements(case when jsonb_typeof(schema -> 'allOf') = 'array' then schema -> 'allOf' end) e
        union all
        select coalesce(bodies -> (schema ->> '$ref'), 'null') where schema ? '$ref'
    loop
        part := pgconductor.schema_merged(one, bodies, depth + 1);
        if part is null then
            return null;
        end if;
        -- What several say of one member has to hold, all of it.
        properties := (
            select coalesce(jsonb_object_agg(key, case when a is null then b when b is null or a = b then a
                else jsonb_build_object('allOf', jsonb_build_array(a, b)) end), '{}')
            from jsonb_each(properties) x(key, a) full join jsonb_each(part -> 'properties') y(key, b) using (key));
        required := required || (part -> 'required');
    end loop;
    return jsonb_build_object('type', 'object', 'properties', properties, 'required', required);
end
$$;

comment on function pgconductor.schema_merged(jsonb, jsonb, int) is
'Engine. See schema_type: one schema of objects for allOf and $ref of such; null if it is about anything else. bodies: what the values of $ref stand for.';
