create or replace function pgconductor.types_python(schemas text[])
returns text
language sql stable
as $$
    with columns as materialized (
        select c.*, case when c.nullable then format('Optional[%s]', j.name) else j.name end as value
        from pgconductor.relation_columns(schemas) c
        cross join lateral (select pgconductor.json_type(c.type, schemas, 'python') as name) j
    ), types as (
        select t.oid, t.typtype, t.typrelid, pgconductor.type_name(t.oid, schemas) as name
        from pg_catalog.pg_type t
        join pg_catalog.pg_namespace n on n.oid = t.typnamespace
        where n.nspname = any (schemas) and t.typtype in ('e', 'c')
    ), relations as (
        -- Likewise told apart by numbers.
        select kind, r.called || coalesce('_' || nullif(row_number() over (partition by r.called order by schema collate "C", relation collate "C")
                + exists (select from types t where t.name in (r.called || 'Row', r.called || 'Insert', r.called || 'Update'))::int, 1), '') as name,
            jsonb_agg(jsonb_build_array("column", value) order by n) filter (where n is not null) as whole,
            jsonb_agg(jsonb_build_array("column", case when given then value else format('NotRequired[%s]', value) end) order by n)
                filter (where insertable) as inserted,
            jsonb_agg(jsonb_build_array("column", format('NotRequired[%s]', value)) order by n) filter (where updatable) as updated
        from columns
        cross join lateral (select pgconductor.class_name(schema, relation) as called) r
        group by schema, kind, relation, r.called
    ), classes as (
        select 2 as part, name, pgconductor.typed_dict(name || 'Row', whole)
            || case when kind = 'Tables' or inserted is not null then pgconductor.typed_dict(name || 'Insert', inserted) else '' end
            || case when kind = 'Tables' or updated is not null then pgconductor.typed_dict(name || 'Update', updated) else '' end as text
        from relations
        union all
        select 0, t.name, format(E'%s: TypeAlias = %s\n', t.name, coalesce(pgconductor.enum_literals(t.oid, 'python'), 'Never'))
        from types t
        where t.typtype = 'e'
        union all
        select 1, t.name, pgconductor.typed_dict(t.name,
            jsonb_agg(jsonb_build_array(a.attname, format('Optional[%s]', pgconductor.json_type(a.atttypid, schemas, 'python'))) order by a.attnum)
                filter (where a.attnum is not null))
        from types t
        left join pg_catalog.pg_attribute a on a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
        where t.typtype = 'c' and t.name is not null
        group by t.oid, t.name
    )
    select E'from __future__ import annotations\n\nfrom typing import Any, Literal, Never, NotRequired, Optional, TypeAlias, TypedDict\n'
        || coalesce(E'\n' || string_agg(text, '' order by part, name collate "C"), '')
    from classes
$$;

comment on function pgconductor.types_python(text[]) is 'Engine. See generate_types.';
