create or replace function pgconductor.relation_columns(schemas text[])
returns table (schema text, kind text, relation text, "column" text, n int, type oid, nullable boolean, given boolean,
    insertable boolean, updatable boolean)
language sql stable
as $$
    select n.nspname, case when c.relkind in ('v', 'm') then 'Views' else 'Tables' end, c.relname, a.attname, a.attnum, a.atttypid,
        c.relkind in ('v', 'm') or not a.attnotnull and not d.fixed,
        a.attidentity = '' and not a.atthasdef and not d.filled and (a.attnotnull or d.fixed) and c.relkind not in ('v', 'm'),
        w.own and c.relkind not in ('v', 'm') or pg_catalog.pg_column_is_updatable(c.oid, a.attnum, true) and u.mask & 8 <> 0,
        w.own and c.relkind not in ('v', 'm') or pg_catalog.pg_column_is_updatable(c.oid, a.attnum, true) and u.mask & 4 <> 0
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    -- A domain, and those that it is made of, may say more.
    left join lateral (
        with recursive domains as (
            select t.typbasetype, t.typnotnull, t.typdefault from pg_catalog.pg_type t where t.oid = a.atttypid and t.typtype = 'd'
            union all
            select t.typbasetype, t.typnotnull, t.typdefault
            from domains o join pg_catalog.pg_type t on t.oid = o.typbasetype and t.typtype = 'd'
        )
        select coalesce(bool_or(o.typnotnull), false) as fixed, count(o.typdefault) > 0 as filled from domains o
    ) d on true
    cross join lateral (select a.attgenerated = '' and a.attidentity <> 'a' as own) w
    left join lateral (select pg_catalog.pg_relation_is_updatable(c.oid, true) as mask) u on c.relkind = 'v'
    where n.nspname = any (schemas) and c.relkind in ('r', 'p', 'f', 'v', 'm') and not c.relispartition
        and not exists (select from pg_catalog.pg_depend e
            where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')
$$;

comment on function pgconductor.relation_columns(text[]) is
'Engine. For generate_types: the columns of the tables and views of some schemas, without partitions and what extensions have brought; what has no columns is one row with nulls. nullable: may be null; given: an insert has to say it; insertable, updatable: may be written.';
