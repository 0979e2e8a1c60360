create or replace function pgconductor.schema_type(language text, schema jsonb, name text, refs jsonb, inout state jsonb, out type text)
language plpgsql immutable
as $$
declare
    anything constant text := case language when 'python' then 'Any' else 'unknown' end;
    kinds text[];
    parts text[] := '{}';
    types text[];
    merged jsonb;
    r record;
begin
    if jsonb_typeof(schema) <> 'object' then
        type := case when schema <> 'false' then anything when language = 'python' then 'Never' else 'never' end;
        return;
    end if;

    -- Python has no word for what both are, but for objects there is one that has the members of both.
    if language = 'python' and (schema ? 'allOf' or schema ? '$ref' and schema ? 'properties') then
        merged := pgconductor.schema_merged(schema, state -> 'bodies', 0);
        if merged -> 'properties' <> '{}' then
            select t.type, t.state into type, state from pgconductor.schema_type(language, merged, name, refs, state) t;
            return;
        end if;
    end if;

    -- All that it says has to hold.
    if schema ? '$ref' then
        parts := parts || coalesce(refs ->> (schema ->> '$ref'), anything);
    end if;
    if schema ? 'const' then
        parts := parts || pgconductor.schema_literals(jsonb_build_array(schema -> 'const'), language);
    elsif schema ? 'enum' then
        parts := parts || pgconductor.schema_literals(schema -> 'enum', language);
    else
        -- Where there is no type, keywords tell which is meant.
        kinds := case jsonb_typeof(schema -> 'type') when 'array' then array(select jsonb_array_elements_text(schema -> 'type'))
            when 'string' then array[schema ->> 'type'] else array(
                select k from (values ('object', '{properties,additionalProperties}'::text[]), ('array', '{items,prefixItems}')) v(k, words)
                where schema ?| words) end;
        types := '{}';
        for r in select k from unnest(kinds) k loop
            select types || t.type, t.state into types, state from pgconductor.schema_kind(language, r.k, schema, name, refs, state) t;
        end loop;
        if cardinality(types) > 0 then
            parts := parts || pgconductor.schema_union(types, language);
        end if;
    end if;
    for r in
        select k, jsonb_agg(jsonb_build_array(case when jsonb_array_length(schema -> k) > 1 then name || m else name end, e) order by m) as schemas
        from unnest('{anyOf,oneOf,allOf}'::text[]) with ordinality u(k, n)
        cross join lateral jsonb_array_elements(schema -> k) with ordinality a(e, m)
        group by k, n order by n
    loop
        select t.types, t.state into types, state from pgconductor.schema_types(language, r.schemas, refs, state) t;
        parts := parts || case r.k when 'allOf' then types else array[pgconductor.schema_union(types, language)] end;
    end loop;

    parts := array(select p from unnest(parts) with ordinality u(p, n) where p <> anything group by p order by min(n));
    type := case when cardinality(parts) = 1 then parts[1]
        when cardinality(parts) = 0 or language = 'python' then anything
        else array_to_string(array(select case when p like '% | %' then '(' || p || ')' else p end from unnest(parts) with ordinality u(p, n) order by n), ' & ') end;
end
$$;

comment on function pgconductor.schema_type(text, jsonb, text, jsonb, jsonb) is
'Engine. For generate_tasks: a type for what complies with a JSON Schema, as narrow as a language can say it. name: for objects in it; refs: what the values of $ref are called; state: the names that are taken, and the definitions so far, {"names": [], "definitions": []}; the name that is kept for it (own); what the values of $ref stand for (bodies).';
