create or replace function pgconductor.schema_types(language text, schemas jsonb, refs jsonb, inout state jsonb, out types text[])
language plpgsql immutable
as $$
declare
    one jsonb;
    type text;
begin
    types := '{}';
    for one in select e from jsonb_array_elements(schemas) with ordinality u(e, n) order by n loop
        select t.state, t.type into state, type from pgconductor.schema_type(language, one -> 1, one ->> 0, refs, state) t;
        types := types || type;
    end loop;
end
$$;

comment on function pgconductor.schema_types(text, jsonb, jsonb, jsonb) is 'Engine. schema_type of several. schemas: a list of [name, schema].';
