create or replace function pgconductor.clock_reached(moment timestamptz, timezone text)
returns timestamp
language plpgsql stable
as $$
declare
    shown constant timestamp := moment at time zone clock_reached.timezone;
    first constant timestamptz := pgconductor.clock_moment(shown, clock_reached.timezone);
    jump timestamptz;
begin
    if first = moment then
        return shown;
    end if;
    -- It shows this for the second time: it had reached more just before it was put back.
    jump := pgconductor.clock_jump(first, moment, clock_reached.timezone);
    return (jump - interval '1 microsecond') at time zone clock_reached.timezone;
end
$$;

comment on function pgconductor.clock_reached(timestamptz, text) is
'Engine. The latest time that the clock of a time zone has shown by a moment.';
