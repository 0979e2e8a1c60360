-- The clock is moved by giving now() another body: every session, however long it has been open, goes by it at once, and
-- while nobody moves it, it costs nothing. (With a row of settings, read by now(), invoke took four times as long.)
create or replace function pgconductor.fake_now(moment timestamptz)
returns timestamptz
language plpgsql volatile
as $$
declare
    -- In seconds: days and months are not equally long everywhere.
    shift constant numeric := case when isfinite(fake_now.moment)
        then extract(epoch from fake_now.moment - pg_catalog.clock_timestamp()) else 0 end;
    before constant timestamptz := pgconductor.now();
    present timestamptz;
begin
    if not isfinite(fake_now.moment) then
        raise exception using errcode = 'PC005', message = 'pgconductor.fake_now: an infinite time';
    end if;
    execute format('create or replace function pgconductor.now() returns timestamptz language sql stable parallel safe as %L',
        format($now$
    select case when coalesce(pg_catalog.current_setting('pgconductor.fake_now', true), '') operator(pg_catalog.<>) ''
        then pg_catalog.current_setting('pgconductor.fake_now', true)::pg_catalog.timestamptz
        else pg_catalog.statement_timestamp()%s end
$now$, case when shift <> 0 then format(' operator(pg_catalog.+) pg_catalog.make_interval(secs => %s)', shift) end));
    present := pg_catalog.clock_timestamp() + make_interval(secs => shift);
    if present < before then
        -- Of schedules the tick is stored that is next by the former time.
        update pgconductor.schedules s set next_at = pgconductor.next_tick(s.times, s.timezone, present) where s.next_at < 'infinity';
    end if;
    -- Nodes know times to come as so many milliseconds from now.
    perform pg_catalog.pg_notify('pgconductor', 'clock');
    return present;
end
$$;

comment on function pgconductor.fake_now(timestamptz) is
'For tests. From now on it is this moment, for all sessions and nodes of the database, and time goes on from there; null: the real time again. What is due by then is resumed, tried again or timed out at once. Returns what time it is. Only the owner of the schema may do this. PC005: an infinite time.';
