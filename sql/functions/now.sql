-- Statement time rather than transaction time: in a long transaction "in 10 seconds" means from the call on.
create or replace function pgconductor.now()
returns timestamptz
language sql stable parallel safe
as $$
    select coalesce(nullif(pg_catalog.current_setting('pgconductor.fake_now', true), '')::timestamptz,
        pg_catalog.statement_timestamp())
$$;

comment on function pgconductor.now() is
'The time that everything here goes by: of the current statement, or the setting pgconductor.fake_now (for tests).';
