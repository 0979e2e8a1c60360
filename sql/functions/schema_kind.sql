create or replace function pgconductor.schema_kind(language text, kind text, schema jsonb, name text, refs jsonb, inout state jsonb, out type text)
language plpgsql immutable
as $$
declare
    python constant boolean := language = 'python';
    own text := name;
    types text[];
begin
    case
    when kind = 'object' and schema -> 'properties' <> '{}' then
        while state -> 'names' ? own and own is distinct from state ->> 'own' loop
            own := own || '_';
        end loop;
        state := jsonb_set(case own when state ->> 'own' then state - 'own' else state end, '{names}', state -> 'names' || to_jsonb(own));
        select t.types, t.state into types, state
        from pgconductor.schema_types(language, (
            select jsonb_agg(jsonb_build_array(own || pgconductor.class_name('public', p.key), p.value) order by p.n)
            from jsonb_each(schema -> 'properties') with ordinality p(key, value, n)), refs, state) t;
        state := jsonb_set(state, '{definitions}', state -> 'definitions' || to_jsonb(pgconductor.schema_object(language, own, schema, types)));
        type := case when python then to_json(own)::text else own end;
    when kind = 'object' then
        select t.type, t.state into type, state
        from pgconductor.schema_type(language, coalesce(schema -> 'additionalProperties', 'true'), name || 'Value', refs, state) t;
        type := format(case when python then 'dict[str, %s]' else '{ [key: string]: %s }' end, type);
    when kind = 'array' and jsonb_array_length(schema -> 'prefixItems') > 0 then
        select t.types, t.state into types, state
        from pgconductor.schema_types(language, (
            select jsonb_agg(jsonb_build_array(name || 'Item' || i.n, i.value) order by i.n)
            from jsonb_array_elements(schema -> 'prefixItems') with ordinality i(value, n))
            || jsonb_build_array(jsonb_build_array(name || 'Item', coalesce(schema -> 'items', 'true'))), refs, state) t;
        type := case when python then format('list[%s]', pgconductor.schema_union(types, language))
            else (select format('[%s]', string_agg(case when n = cardinality(types) then '...Array<' || t || '>'
                when n <= coalesce((schema ->> 'minItems')::numeric, 0) then t when t ~ '^\w+(\[\])*$' then t || '?' else format('(%s)?', t) end, ', ' order by n))
                from unnest(types) with ordinality u(t, n) where n < cardinality(types) or t <> 'never') end;
    when kind = 'array' then
        select t.type, t.state into type, state
        from pgconductor.schema_type(language, coalesce(schema -> 'items', 'true'), name || 'Item', refs, state) t;
        type := case when python then format('list[%s]', type) when type ~ '^\w+(\[\])*$' then type || '[]' else format('Array<%s>', type) end;
    else
        type := case kind when 'string' then case when python then 'str' else kind end when 'integer' then case when python then 'int' else 'number' end
            when 'number' then case when python then 'float' else kind end when 'boolean' then case when python then 'bool' else kind end
            when 'null' then case when python then 'None' else kind end else case when python then 'Any' else 'unknown' end end;
    end case;
end
$$;

comment on function pgconductor.schema_kind(text, text, jsonb, text, jsonb, jsonb) is 'Engine. See schema_type: what a schema says of values of one kind, a type as JSON Schema has it.';
