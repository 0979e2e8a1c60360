create or replace function pgconductor.schema_literals("values" jsonb, language text)
returns text
language sql immutable
as $$
    select case
        when language = 'typescript' then coalesce(string_agg(distinct e::text, ' | '), 'never')
        when count(*) = 0 then 'Never'
        -- Only these are known to Python as types.
        when bool_or(jsonb_typeof(e) in ('array', 'object') or jsonb_typeof(e) = 'number' and e::text !~ '^-?\d+$') then 'Any'
        else 'Literal[' || string_agg(case e::text when 'true' then 'True' when 'false' then 'False' when 'null' then 'None' else e::text end, ', ' order by n) || ']' end
    from jsonb_array_elements("values") with ordinality u(e, n)
$$;

comment on function pgconductor.schema_literals(jsonb, text) is 'Engine. See schema_type: the type of those values, given as a list.';
