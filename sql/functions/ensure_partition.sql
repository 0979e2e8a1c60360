create or replace function pgconductor.ensure_partition(at timestamptz)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    day constant date := (at at time zone 'UTC')::date;
    statement text;
begin
    if to_regclass('pgconductor.finished_' || to_char(day, 'YYYYMMDD')) is null
        or to_regclass('pgconductor.events_' || to_char(day, 'YYYYMMDD')) is null
    then
        for statement in select pgconductor.partition_statements(day, day) loop
            execute statement;
        end loop;
    end if;
end
$$;

comment on function pgconductor.ensure_partition(timestamptz) is
'Engine. Makes the partition of a time''s UTC day if there is none: for a client that cancels or emits while no node has run for a week.';
