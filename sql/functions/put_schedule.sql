create or replace function pgconductor.put_schedule(what text, program text, task text, name text, cron text, payload json,
    timezone text, enabled boolean, overlap text, catchup text)
returns timestamptz
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    present constant timestamptz := pgconductor.now();
    title constant text := coalesce(put_schedule.name, btrim(put_schedule.cron));
    times pgconductor.cron;
    zone text := coalesce(put_schedule.timezone, 'UTC');
    makeup constant int := case when put_schedule.catchup is null or put_schedule.catchup = 'skip' then 0
        when put_schedule.catchup = 'last' then 1 when put_schedule.catchup = 'all' then 2147483647
        when put_schedule.catchup ~ '^\d{1,4}$' and put_schedule.catchup::int between 1 and 1000 then put_schedule.catchup::int end;
    why text;
    due timestamptz;
begin
    if not exists (select from pgconductor.tasks t where t.name = put_schedule.task) then
        perform pgconductor.find_home(what, put_schedule.task, null);
    end if;
    times := pgconductor.parse_cron(what, put_schedule.cron);
    why := case when title !~ '^[^[:cntrl:]]{1,128}$' then format('name: %L: not 1 to 128 characters, without control characters', title)
        when makeup is null then format('catchup: %L: neither skip, last, all nor a number from 1 to 1000', put_schedule.catchup)
        when coalesce(put_schedule.overlap, 'allow') not in ('allow', 'skip') then
            format('overlap: %L: neither allow nor skip', put_schedule.overlap)
        when zone !~ '^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$' then format('timezone: %L: no such time zone', zone) end;
    -- What PostgreSQL takes besides: abbreviations, and offsets, whose signs are not as one would think.
    if why is null and zone <> 'UTC' then
        -- Asking PostgreSQL reads some hundred files; what another schedule has, was asked before.
        select z.name into zone from (
            (select s.timezone as name from pgconductor.schedules s where lower(s.timezone) = lower(zone) limit 1)
            union all
            (select n.name from pg_catalog.pg_timezone_names n where lower(n.name) = lower(zone))
        ) z
        limit 1;
        if not found then
            why := format('timezone: %L: no such time zone', put_schedule.timezone);
        end if;
    end if;
    if why is not null then
        raise exception using errcode = 'PC012', message = format('%s: %s', what, why),
            hint = 'A time zone is named as Europe/Berlin is; the view pg_timezone_names has all.';
    end if;
    perform pgconductor.check_size(what, octet_length(put_schedule.payload::text));

    due := pgconductor.next_tick(times, zone, present);
    insert into pgconductor.schedules as s (task, name, program, cron, times, timezone, payload, enabled, overlap, catchup,
        next_at)
    values (put_schedule.task, title, put_schedule.program, put_schedule.cron, times, zone, coalesce(put_schedule.payload, 'null'),
        coalesce(put_schedule.enabled, true), coalesce(put_schedule.overlap, 'allow'), makeup, due)
    on conflict (task, name) do update
    set program = excluded.program, cron = excluded.cron, times = excluded.times, timezone = excluded.timezone,
        payload = excluded.payload, overlap = excluded.overlap, catchup = excluded.catchup, problem = null,
        -- One that was paused stays so when its program is started anew.
        enabled = case when put_schedule.enabled is null then s.enabled else excluded.enabled end,
        -- As it is, it goes on as it did: what was missed while nothing ran is made up for.
        next_at = case when s.enabled and s.problem is null and s.times::text = excluded.times::text and s.timezone = excluded.timezone
            then s.next_at else excluded.next_at end
    -- Run time over configuration over code; among programs the last by name, see task_values().
    where put_schedule.program is null or s.program is not null
        and row(put_schedule.program = 'config', put_schedule.program collate "C") >= row(s.program = 'config', s.program)
    returning next_at into due;
    if due is not null and current_setting('pgconductor.notify', true) is distinct from 'off' then
        perform pg_notify('pgconductor', 'schedules');
    end if;
    return due;
end
$$;

comment on function pgconductor.put_schedule(text, text, text, text, text, json, text, boolean, text, text) is
'Engine. Stores a schedule, see schedule(), in the place of one of the same name, and returns its next tick. what: the function that is spoken of in errors. program: that has declared it, null if somebody has made it at run time; then one made at run time, or whose word counts for more, stays as it is, and null is returned. enabled null: as it was, true if it is new.';
