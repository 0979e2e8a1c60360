create or replace function pgconductor.schema_union(types text[], language text)
returns text
language sql immutable
as $$
    with given as (
        select t, min(n) as n from unnest(types) with ordinality u(t, n) where t not in ('never', 'Never') group by t
    )
    select case
        when count(*) = 0 then case language when 'python' then 'Never' else 'never' end
        when bool_or(t in ('unknown', 'Any')) then case language when 'python' then 'Any' else 'unknown' end
        when count(*) = 1 then min(t)
        when language = 'typescript' then string_agg(t, ' | ' order by n)
        when count(*) = 2 and bool_or(t = 'None') then format('Optional[%s]', min(t) filter (where t <> 'None'))
        else format('Union[%s]', string_agg(t, ', ' order by n)) end
    from given
$$;

comment on function pgconductor.schema_union(text[], text) is 'Engine. See schema_type: any of these types.';
