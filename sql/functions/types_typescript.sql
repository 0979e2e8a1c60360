create or replace function pgconductor.types_typescript(schemas text[])
returns text
language sql stable
as $$
    with columns as materialized (
        select c.*, pgconductor.member_name(c.column) as name,
            pgconductor.json_type(c.type, schemas, 'typescript') || case when c.nullable then ' | null' else '' end as value
        from pgconductor.relation_columns(schemas) c
    ), relations as (
        select schema, kind, relation,
            string_agg(format(E'\t\t\t\t\t%s: %s;\n', name, value), '' order by n) filter (where n is not null) as whole,
            string_agg(format(E'\t\t\t\t\t%s%s: %s;\n', name, case when insertable and given then '' else '?' end,
                case when insertable then value else 'never' end), '' order by n)
                filter (where n is not null) as inserted,
            string_agg(format(E'\t\t\t\t\t%s?: %s;\n', name, case when updatable then value else 'never' end), '' order by n)
                filter (where n is not null) as updated,
            kind = 'Tables' or bool_or(insertable) as can_insert, kind = 'Tables' or bool_or(updatable) as can_update
        from columns
        group by schema, kind, relation
    ), members as (
        select schema, kind, relation as name, format(E'{\n%s\t\t\t}',
            format(E'\t\t\t\tRow: {\n%s\t\t\t\t};\n', whole)
            || case when can_insert then format(E'\t\t\t\tInsert: {\n%s\t\t\t\t};\n', inserted) else '' end
            || case when can_update then format(E'\t\t\t\tUpdate: {\n%s\t\t\t\t};\n', updated) else '' end) as body
        from relations
        union all
        select n.nspname, 'Enums', t.typname, coalesce(pgconductor.enum_literals(t.oid, 'typescript'), 'never')
        from pg_catalog.pg_type t
        join pg_catalog.pg_namespace n on n.oid = t.typnamespace
        where t.typtype = 'e' and n.nspname = any (schemas)
        union all
        select n.nspname, 'CompositeTypes', c.relname, format(E'{\n%s\t\t\t}',
            string_agg(format(E'\t\t\t\t%s: %s | null;\n', pgconductor.member_name(a.attname), pgconductor.json_type(a.atttypid, schemas, 'typescript')), '' order by a.attnum)
                filter (where a.attnum is not null))
        from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relkind = 'c' and n.nspname = any (schemas)
        group by n.nspname, c.relname
    )
    select E'export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[];\n\n'
        || E'export type Database = {\n' || string_agg(one.text, '' order by one.schema collate "C") || E'};\n'
    from (
        select s.schema, format(E'\t%s: {\n%s\t};\n', pgconductor.member_name(s.schema), string_agg(k.text, '' order by k.n)) as text
        from (select distinct unnest(schemas)) s(schema)
        cross join lateral (
            select x.n, format(E'\t\t%s: {%s};\n', x.kind, coalesce(E'\n' || string_agg(format(E'\t\t\t%s: %s;\n', pgconductor.member_name(m.name), m.body), ''
                order by m.name collate "C") filter (where m.name is not null) || E'\t\t', ' [_ in never]: never ')) as text
            from unnest(array['Tables', 'Views', 'Enums', 'CompositeTypes']) with ordinality x(kind, n)
            left join members m on m.schema = s.schema and m.kind = x.kind
            group by x.n, x.kind
        ) k
        group by s.schema
    ) one
$$;

comment on function pgconductor.types_typescript(text[]) is 'Engine. See generate_types.';
