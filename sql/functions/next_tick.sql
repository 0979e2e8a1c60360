-- The clock on the wall may jump. A time on it that is skipped comes at the moment of the jump, one that comes twice the
-- first time: so the moment of a time is the first at which the clock shows it, or has gone beyond it.
create or replace function pgconductor.next_tick(times pgconductor.cron, timezone text, after timestamptz)
returns timestamptz
language plpgsql stable
as $$
declare
    seconds constant bit(60) := times.seconds;
    minutes constant bit(60) := times.minutes;
    hours constant bit(24) := times.hours;
    week constant varbit := times.weekdays || times.weekdays || times.weekdays || times.weekdays || times.weekdays || times.weekdays;
    clock timestamp := pgconductor.clock_reached(after, next_tick.timezone);
    day date;
    s int;
    m int;
    h int;
    n int;
    month_start date;
    days varbit;
begin
    if not isfinite(after) then
        return after;
    end if;
    clock := date_trunc('second', clock) + interval '1 second';
    day := clock::date;
    h := extract(hour from clock);
    m := extract(minute from clock);
    s := extract(second from clock);

    -- The first time of a day from h:m:s on. position() counts from 1, 0 is none: each unit that is none moves on the next
    -- larger one, and a larger one that moves takes the smaller ones back to their beginning.
    n := position(B'1' in substring(seconds from s + 1));
    if n = 0 then
        m := m + 1;
        s := 0;
        n := position(B'1' in seconds);
    end if;
    s := s + n - 1;
    n := case when m < 60 then position(B'1' in substring(minutes from m + 1)) else 0 end;
    if n <> 1 then
        s := position(B'1' in seconds) - 1;
    end if;
    if n = 0 then
        h := h + 1;
        m := 0;
        n := position(B'1' in minutes);
    end if;
    m := m + n - 1;
    n := case when h < 24 then position(B'1' in substring(hours from h + 1)) else 0 end;
    if n <> 1 then
        s := position(B'1' in seconds) - 1;
        m := position(B'1' in minutes) - 1;
    end if;
    if n = 0 then
        day := day + 1;
        h := 0;
        n := position(B'1' in hours);
    end if;
    h := h + n - 1;

    -- The first day from there on; a 29th of February may be eight years away, and one on a certain weekday forty.
    for months in 0..490 loop
        month_start := date_trunc('month', day::timestamp)::date;
        n := 0;
        if get_bit(times.months, extract(month from day)::int - 1) = 1 then
            days := substring(week from extract(dow from month_start)::int + 1 for 31);
            days := case when times.either_day then days | times.days else days & times.days end;
            n := extract(day from day);
            n := n - 1 + nullif(position(B'1' in substring(days from n)), 0);
            if n <= extract(day from month_start + interval '1 month' - interval '1 day') then
                exit;
            end if;
        end if;
        day := (month_start + interval '1 month')::date;
        n := null;
    end loop;
    if n is null then
        return 'infinity';
    end if;
    if month_start + n - 1 > clock::date then
        h := position(B'1' in hours) - 1;
        m := position(B'1' in minutes) - 1;
        s := position(B'1' in seconds) - 1;
    end if;
    return pgconductor.clock_moment(month_start + n - 1 + make_interval(hours => h, mins => m, secs => s), next_tick.timezone);
end
$$;

comment on function pgconductor.next_tick(pgconductor.cron, text, timestamptz) is
'Engine. The first moment after the given one that a cron expression means, in a time zone; infinity if there is none.';
