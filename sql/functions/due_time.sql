create or replace function pgconductor.due_time(what text, run_at timestamptz, delay interval)
returns timestamptz
language plpgsql stable
as $$
declare
    due timestamptz;
begin
    if run_at is not null and delay is not null then
        raise exception using errcode = 'PC005', message = what || ': run_at, delay: give one of them, not both';
    elsif run_at is not null then
        if not isfinite(run_at) then
            raise exception using errcode = 'PC005', message = what || ': run_at: an infinite time';
        end if;
        return run_at;
    elsif delay is null then
        return pgconductor.now();
    end if;
    if not isfinite(delay) or delay < interval '0' or delay > interval '1000 years' then
        raise exception using errcode = 'PC005',
            message = format('%s: delay: %s is not between 0 and 1000 years', what, delay);
    end if;
    return pgconductor.now() + delay;
end
$$;

comment on function pgconductor.due_time(text, timestamptz, interval) is 'Engine. When to run, by either of two options. PC005: bad time.';
