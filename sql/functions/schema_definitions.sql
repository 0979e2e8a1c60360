create or replace function pgconductor.schema_definitions(schema jsonb, name text)
returns table (ref text, called text, body jsonb)
language sql immutable
as $$
    -- Files of a configuration stand in one schema, each under its own name; of these, one is the whole.
    with given as (
        select d.value as schema, coalesce(pgconductor.schema_uri(d.value ->> '$id', coalesce(given.schema ->> '$id', '')), '') as uri, d.n
        from (select $1 as schema) given
        cross join lateral jsonb_each(case when jsonb_typeof($1 -> '$defs') = 'object' then $1 -> '$defs' end) with ordinality d(key, value, n)
        where jsonb_typeof(d.value -> '$id') = 'string'
        union all
        select $1, coalesce($1 ->> '$id', ''), 0
    ), files as (
        select g.schema, g.uri, g.n, g.n = coalesce((select w.n from given w where w.n > 0 and w.uri = $1 ->> '$ref'), 0) as whole from given g
    ), named as (
        select f.*, case when f.whole or f.n = 0 then $2 else $2 || pgconductor.class_name('public', regexp_replace(f.uri, '^.*/|\.json$', '', 'g')) end as called
        from files f
    )
    select a.ref, a.called, pgconductor.schema_refs(a.body, a.uri)
    from (
        select format('%s#/%s/%s', f.uri, k, replace(replace(d.key, '~', '~0'), '/', '~1')) as ref,
            f.called || pgconductor.class_name('public', d.key) as called, d.value as body, f.uri, 1 as turn, f.n, d.n as m
        from named f
        cross join unnest('{$defs,definitions}'::text[]) k
        cross join lateral jsonb_each(case when jsonb_typeof(f.schema -> k) = 'object' then f.schema -> k end) with ordinality d(key, value, n)
        where jsonb_typeof(d.value -> '$id') is distinct from 'string'
        union all
        -- The whole last: what it consists of has names then.
        select f.uri, f.called, case jsonb_typeof(f.schema) when 'object' then f.schema - '{$defs,definitions}'::text[] else f.schema end, f.uri, case when f.whole then 3 else 2 end, f.n, 0
        from named f
        -- A file may be there for what it defines alone.
        where f.whole or f.n > 0 and f.schema - '{$id,$schema,$defs,definitions,title,description,$comment}'::text[] <> '{}'
    ) a
    order by a.turn, a.n, a.m
$$;

comment on function pgconductor.schema_definitions(jsonb, text) is
'Engine. See schema_type: what a schema defines for its own use, as $ref says it, and itself; and how that is called, which may be the same of several.';
