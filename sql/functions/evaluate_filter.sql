-- Belongs to the role pgconductor_filter (see finish.sql), which may do nothing: whatever stands in a condition is done with
-- its rights.
create or replace function pgconductor.evaluate_filter(filter text, events text[], payloads jsonb[])
returns int[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    held int[];
begin
    if current_user <> 'pgconductor_filter' then
        raise exception using errcode = 'PC006',
            message = 'conditions of events are evaluated as the role pgconductor_filter, which could not be made here',
            hint = 'Let an administrator run: create role pgconductor_filter nologin; grant pgconductor_filter to the owner of the schema; then migrate again.';
    end if;
    execute format(E'select array_agg("#"::int order by "#") from unnest($1, $2) with ordinality as e(event, payload, "#") where (%s\n)',
        filter)
    into held using events, payloads;
    return coalesce(held, '{}');
end
$$;

comment on function pgconductor.evaluate_filter(text, text[], jsonb[]) is
'Engine. For which of these events a condition holds: their positions, from 1. Raises what the condition raises.';
