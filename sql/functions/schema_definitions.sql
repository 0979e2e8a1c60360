create or replace function pgconductor.schema_definitions(schema jsonb, name text)
returns table (ref text, called text, body jsonb)
language sql immutable
as $$
    -- The whole last: what it consists of has names then.
    select format('#/%s/%s', k, replace(replace(d.key, '~', '~0'), '/', '~1')), name || pgconductor.class_name('public', d.key), d.value
    from unnest('{$defs,definitions}'::text[]) k
    cross join lateral jsonb_each(case when jsonb_typeof(schema -> k) = 'object' then schema -> k end) d
    union all
    select '#', name, schema
$$;

comment on function pgconductor.schema_definitions(jsonb, text) is 'Engine. See schema_type: what a schema defines for its own use, as $ref says it, and itself; and how it is called.';
