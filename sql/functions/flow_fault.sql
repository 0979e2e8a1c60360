create or replace function pgconductor.flow_fault(dedupe_key text, dedupe_for interval, throttle interval,
    debounce interval, max_wait interval, timed boolean, out code text, out why text)
language plpgsql immutable
as $$
declare
    o record;
begin
    for o in
        select x.name, x.span, x.low from (values ('dedupe_for', flow_fault.dedupe_for, interval '0'),
            ('throttle', flow_fault.throttle, '1 microsecond'), ('debounce', flow_fault.debounce, '1 microsecond'),
            ('max_wait', flow_fault.max_wait, '1 microsecond')) as x(name, span, low)
        where x.span is not null
    loop
        if not isfinite(o.span) or o.span < o.low or o.span > interval '1000 years' then
            code := 'PC005';
            why := format('%s: %s is not %s 1000 years', o.name, o.span,
                case when o.low = interval '0' then 'between 0 and' else 'above 0, up to' end);
            return;
        end if;
    end loop;

    code := 'PC009';
    why := case when dedupe_key = '' then 'dedupe_key: an empty text'
        when octet_length(dedupe_key) > 1024 then format('dedupe_key: %s bytes, the limit is 1024', octet_length(dedupe_key))
        when throttle is not null and debounce is not null then 'throttle, debounce: give one of them, not both'
        when num_nonnulls(throttle, debounce) > 0 and dedupe_for is not null
            then 'dedupe_for: goes with neither throttle nor debounce'
        when max_wait is not null and debounce is null then 'max_wait: goes with debounce'
        when debounce is not null and timed then 'debounce: says itself when to run: give neither run_at nor delay' end;
    if why is null then
        code := null;
    end if;
end
$$;

comment on function pgconductor.flow_fault(text, interval, interval, interval, interval, boolean) is
'Engine. What is wrong with these options of invoke: SQLSTATE and why; nulls: nothing. timed: run_at or delay is given too.';
