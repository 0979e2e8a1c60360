create or replace function pgconductor.is_on(setting text)
returns boolean
language sql stable
as $$
    select (pg_catalog.current_setting(setting, true) in ('on', 'true', 'yes', '1')) is true
$$;

comment on function pgconductor.is_on(text) is 'Engine. Whether a setting of the session is switched on; unknown ones are not.';
