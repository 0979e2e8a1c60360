-- Statement time rather than transaction time: in a long transaction "in 10 seconds" means from the call on.
-- fake_now() puts another one in its place, which must not differ in anything but the time. Named in full: see change_function.
create or replace function pgconductor.now()
returns timestamptz
language sql stable parallel safe
as $$
    select case when coalesce(pg_catalog.current_setting('pgconductor.fake_now', true), '') operator(pg_catalog.<>) ''
        then pg_catalog.current_setting('pgconductor.fake_now', true)::pg_catalog.timestamptz
        else pg_catalog.statement_timestamp() end
$$;

comment on function pgconductor.now() is
'The time that everything here goes by: of the current statement, as fake_now() has moved it; or the setting pgconductor.fake_now of the session, at which time stands still. Both are for tests.';
