create or replace function pgconductor.select_columns(payload json, columns text[])
returns json
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select pgconductor.select_fields(payload, columns)
$$;

comment on function pgconductor.select_columns(json, text[]) is 'Engine. select_fields, for triggers, whose search_path is anybody''s.';
