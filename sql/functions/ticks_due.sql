create or replace function pgconductor.ticks_due(times pgconductor.cron, timezone text, next_at timestamptz,
    present timestamptz, catchup int, out ticks timestamptz[], out following timestamptz)
language plpgsql stable
as $$
#variable_conflict use_column
declare
    -- What nobody could see to for so long was missed.
    fresh constant timestamptz := ticks_due.present - interval '1 minute';
    at_once constant int := 100;
    span interval := interval '1 minute';
    since timestamptz;
    n int;
begin
    following := pgconductor.next_tick(times, ticks_due.timezone, next_at);
    if following > present then
        -- As nearly always.
        ticks := case when next_at >= fresh or catchup > 0 then array[next_at] else '{}' end;
        return;
    end if;

    if catchup = 2147483647 then
        -- From the oldest on, some at a time.
        ticks := array[next_at];
        while following <= present and cardinality(ticks) < at_once loop
            ticks := ticks || following;
            following := pgconductor.next_tick(times, ticks_due.timezone, following);
        end loop;
        return;
    end if;

    -- From the newest on, over longer and longer times.
    loop
        since := greatest(present - span, next_at) - interval '1 microsecond';
        ticks := '{}';
        following := pgconductor.next_tick(times, ticks_due.timezone, since);
        while following <= present loop
            ticks := ticks || following;
            following := pgconductor.next_tick(times, ticks_due.timezone, following);
        end loop;
        exit when cardinality(ticks) >= catchup or since < next_at;
        span := span * 2;
    end loop;
    select greatest(count(*) filter (where t >= fresh), catchup) into n from unnest(ticks) t;
    ticks := ticks[greatest(cardinality(ticks) - n, 0) + 1:];
end
$$;

comment on function pgconductor.ticks_due(pgconductor.cron, text, timestamptz, timestamptz, int) is
'Engine. The ticks of a schedule, from next_at to the present, for which executions are to be made, in order, and the tick that follows those that are done with. Those of the last minute always; catchup: how many in all, if older ones were missed; 2147483647 for all, some of them at a time.';
