create or replace function pgconductor.covered_until()
returns timestamptz
language plpgsql stable
as $$
declare
    day timestamp := date_trunc('day', pgconductor.now() at time zone 'UTC');
begin
    while to_regclass('pgconductor.events_' || to_char(day, 'YYYYMMDD')) is not null loop
        day := day + interval '1 day';
    end loop;
    return day at time zone 'UTC';
end
$$;

comment on function pgconductor.covered_until() is 'Engine. The first UTC day from now on for which events have no partition.';
