create or replace function pgconductor.window_state(opens time, closes time, days int[], timezone text, at timestamptz,
    out open boolean, out until timestamptz)
language sql stable
as $$
    -- A window is of the day that it begins on. Of times that a clock in that zone skips or shows twice, see "at time zone".
    select coalesce(bool_or(s.begins <= window_state.at and window_state.at < s.ends), false),
        coalesce(max(s.ends) filter (where s.begins <= window_state.at and window_state.at < s.ends),
            min(s.begins) filter (where s.begins > window_state.at))
    from (
        select (d.day + window_state.opens) at time zone window_state.timezone as begins,
            (d.day + (window_state.closes <= window_state.opens)::int + window_state.closes) at time zone window_state.timezone as ends
        from (select (window_state.at at time zone window_state.timezone)::date + n as day from generate_series(-1, 8) n) d
        where window_state.days is null or extract(isodow from d.day)::int = any (window_state.days)
    ) s
$$;

comment on function pgconductor.window_state(time, time, int[], text, timestamptz) is
'Engine. Whether a task''s window is open at a time, and until when it is or is not. days: 1 (Monday) to 7, on which it opens; null: all.';
