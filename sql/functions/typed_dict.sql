create or replace function pgconductor.typed_dict(name text, members jsonb)
returns text
language sql immutable
as $$
    -- What cannot be an attribute of a class stands in the other form.
    select case
        when count(*) = 0 then format(E'\n\nclass %s(TypedDict):\n    pass\n', name)
        when bool_and(m.value ->> 0 ~ '^[A-Za-z_][A-Za-z0-9_]*$' and m.value ->> 0 !~ '^__' and m.value ->> 0 !~ pgconductor.python_words()) then
            format(E'\n\nclass %s(TypedDict):\n%s', name, string_agg(c.comment || format(E'    %s: %s\n', m.value ->> 0, m.value ->> 1), '' order by m.n))
        else format(E'\n\n%1$s = TypedDict("%1$s", {\n%2$s})\n', name,
            string_agg(c.comment || format(E'    %s: %s,\n', m.value -> 0, m.value ->> 1), '' order by m.n))
        end
    from jsonb_array_elements(members) with ordinality m(value, n)
    cross join lateral (select coalesce(E'    # ' || (m.value ->> 2) || E'\n', '') as comment) c
$$;

comment on function pgconductor.typed_dict(text, jsonb) is 'Engine. For generate_types and generate_tasks: a TypedDict of Python. members: a list of [name, type, comment].';
