create or replace function pgconductor.class_name(variadic names text[])
returns text
language sql immutable
as $$
    -- What cannot stand in a name separates its words. Of schemas, public goes without saying.
    select regexp_replace(coalesce(nullif(string_agg(upper(left(w, 1)) || substr(w, 2), '' order by n, m), ''), '_'), '^(\d)', '_\1')
    from unnest(case names[1] when 'public' then names[2:] else names end) with ordinality as u(name, n)
    cross join lateral regexp_split_to_table(name, '[^A-Za-z0-9]+') with ordinality as s(w, m)
$$;

comment on function pgconductor.class_name(text[]) is 'Engine. For generate_types and generate_tasks: the name of a type, such as SendEmailPayload.';
