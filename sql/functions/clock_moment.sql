create or replace function pgconductor.clock_moment(shown timestamp, timezone text)
returns timestamptz
language plpgsql stable
as $$
declare
    -- Of a time that comes twice PostgreSQL takes the second, one that is skipped it puts behind the gap by as much as it
    -- lies in it.
    t timestamptz := shown at time zone clock_moment.timezone;
    back constant timestamp := t at time zone clock_moment.timezone;
    early timestamptz;
begin
    if back <> shown then
        -- In seconds: a day is not as long everywhere.
        return pgconductor.clock_jump(t - make_interval(secs => extract(epoch from back - shown)), t, clock_moment.timezone);
    end if;
    -- By the offset of a while ago, further back than any clock was ever put.
    early := t - interval '26 hours';
    early := (shown at time zone 'UTC') - ((early at time zone clock_moment.timezone) - (early at time zone 'UTC'));
    if early < t and early at time zone clock_moment.timezone = shown then
        return early;
    end if;
    return t;
end
$$;

comment on function pgconductor.clock_moment(timestamp, text) is
'Engine. The first moment at which the clock of a time zone shows this time, or a later one.';
