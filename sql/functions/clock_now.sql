create or replace function pgconductor.clock_now()
returns timestamptz
language sql volatile
as $$ select pgconductor.now() + (clock_timestamp() - statement_timestamp()) $$;

comment on function pgconductor.clock_now() is
'Engine. The time at this moment, where now() is that of the statement: behind a lock it may be long ago.';
