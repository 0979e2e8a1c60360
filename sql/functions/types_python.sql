create or replace function pgconductor.types_python(schemas text[])
returns text
language sql stable
as $$
    with columns as materialized (
        select c.*, case when c.nullable then format('Optional[%s]', j.name) else j.name end as value
        from pgconductor.relation_columns(schemas) c
        cross join lateral (select pgconductor.json_type(c.type, schemas, 'python') as name) j
    ), relations as (
        select kind, pgconductor.class_name(schema, relation) as name,
            jsonb_agg(jsonb_build_array("column", value) order by n) filter (where n is not null) as whole,
            jsonb_agg(jsonb_build_array("column", case when given then value else format('NotRequired[%s]', value) end) order by n)
                filter (where insertable) as inserted,
            jsonb_agg(jsonb_build_array("column", format('NotRequired[%s]', value)) order by n) filter (where updatable) as updated
        from columns
        group by schema, kind, relation
    ), classes as (
        select 2 as part, name, pgconductor.typed_dict(name || 'Row', whole)
            || case when kind = 'Tables' or inserted is not null then pgconductor.typed_dict(name || 'Insert', inserted) else '' end
            || case when kind = 'Tables' or updated is not null then pgconductor.typed_dict(name || 'Update', updated) else '' end as text
        from relations
        union all
        select 0, pgconductor.class_name(n.nspname, t.typname),
            format(E'%s: TypeAlias = %s\n', pgconductor.class_name(n.nspname, t.typname), coalesce(pgconductor.enum_literals(t.oid, 'python'), 'Never'))
        from pg_catalog.pg_type t
        join pg_catalog.pg_namespace n on n.oid = t.typnamespace
        where t.typtype = 'e' and n.nspname = any (schemas)
        union all
        select 1, pgconductor.class_name(n.nspname, c.relname), pgconductor.typed_dict(pgconductor.class_name(n.nspname, c.relname),
            jsonb_agg(jsonb_build_array(a.attname, format('Optional[%s]', pgconductor.json_type(a.atttypid, schemas, 'python'))) order by a.attnum)
                filter (where a.attnum is not null))
        from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relkind = 'c' and n.nspname = any (schemas)
        group by n.nspname, c.relname
    )
    select E'from __future__ import annotations\n\nfrom typing import Any, Literal, Never, NotRequired, Optional, TypeAlias, TypedDict\n'
        || coalesce(E'\n' || string_agg(text, '' order by part, name collate "C"), '')
    from classes
$$;

comment on function pgconductor.types_python(text[]) is 'Engine. See generate_types.';
