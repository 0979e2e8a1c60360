create or replace function pgconductor.clock_jump(before timestamptz, after timestamptz, timezone text)
returns timestamptz
language plpgsql stable
as $$
declare
    low bigint := floor(extract(epoch from before));
    high bigint := ceil(extract(epoch from after));
    middle bigint;
    offset_before constant interval := (to_timestamp(low) at time zone clock_jump.timezone) - (to_timestamp(low) at time zone 'UTC');
begin
    while high - low > 1 loop
        middle := (low + high) / 2;
        if (to_timestamp(middle) at time zone clock_jump.timezone) - (to_timestamp(middle) at time zone 'UTC') = offset_before then
            low := middle;
        else
            high := middle;
        end if;
    end loop;
    return to_timestamp(high);
end
$$;

comment on function pgconductor.clock_jump(timestamptz, timestamptz, text) is
'Engine. The moment between two others at which the clock of a time zone is put forward or back.';
