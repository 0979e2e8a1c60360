create or replace function pgconductor.schema_object(language text, name text, schema jsonb, types text[])
returns text
language sql immutable
as $$
    -- In the order of required, which is mostly that of the source; an object of a jsonb has none.
    with members as (
        select p.key, types[p.n] as type, p.n, coalesce(schema -> 'required' ? p.key, false) as required,
            array_position(array(select jsonb_array_elements_text(schema -> 'required')), p.key) as turn,
            regexp_replace(p.value ->> 'description', '\s+', ' ', 'g') as said
        from jsonb_each(schema -> 'properties') with ordinality p(key, value, n)
    )
    select case language when 'python' then
            pgconductor.typed_dict(name, jsonb_agg(jsonb_build_array(key,
                case when required then type else format('NotRequired[%s]', type) end, said) order by turn, n))
        else format(E'\nexport type %s = {\n%s%s};\n', name,
            string_agg(coalesce(E'\t/** ' || replace(said, '*/', '* /') || E' */\n', '')
                || format(E'\t%s%s: %s;\n', pgconductor.member_name(key), case when required then '' else '?' end, type), '' order by turn, n),
            case when schema -> 'additionalProperties' <> 'false' then E'\t[key: string]: unknown;\n' else '' end) end
    from members
$$;

comment on function pgconductor.schema_object(text, text, jsonb, text[]) is
'Engine. See schema_type: the definition of a type for objects. types: those of their properties.';
