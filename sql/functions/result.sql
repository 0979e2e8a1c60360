create or replace function pgconductor.result(id bigint)
returns table (state text, result json, error json)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select a.state, a.result, a.error from pgconductor.executions_all a where a.id = result.id
$$;

comment on function pgconductor.result(bigint) is
'State (see executions_all), result and error of an execution; no row if it is unknown, or finished and its history gone. `set pgconductor.await = on` before invoke keeps it for an hour at least.';
