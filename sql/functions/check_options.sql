create or replace function pgconductor.check_options(what text, options json)
returns jsonb
language plpgsql immutable
as $$
declare
    result jsonb := '{}';
    o record;
    b json;
    why text;
begin
    if options is null then
        return result;
    elsif json_typeof(options) <> 'object' then
        raise exception using errcode = 'PC008', message = what || ': options: not a JSON object';
    end if;
    -- Kept as jsonb, which does not take everything that json does: \u0000, a number of a thousand digits.
    begin
        perform options::jsonb;
    exception when others then
        raise exception using errcode = 'PC008', message = format('%s: options: %s', what, sqlerrm);
    end;
    for o in select key, value from json_each(options) loop
        why := null;
        case
        when o.key in ('max_attempts', 'backoff', 'timeout', 'total_timeout', 'remove_on_complete', 'remove_on_fail',
                'payload_schema', 'returns_schema', 'batch', 'concurrency', 'rate_limit', 'concurrency_key', 'fifo_key',
                'window', 'timezone', 'days', 'priority')
            and json_typeof(o.value) = 'null' then
            continue;
        when o.key in ('timeout', 'total_timeout', 'batch', 'concurrency', 'rate_limit', 'concurrency_key', 'fifo_key', 'window')
            and o.value::text = 'false' then
            -- None: what another source says does not count.
            null;
        when o.key = 'max_attempts' then
            if json_typeof(o.value) <> 'number' or o.value::text !~ '^\d{1,9}$' or o.value::text::int < 1 then
                why := 'not a whole number from 1 on';
            end if;
        when o.key in ('timeout', 'total_timeout') then
            if coalesce(pgconductor.duration_ms(o.value), 0) < 1 then
                why := 'not a duration above 0, such as "30s" or "5m"';
            end if;
        when o.key in ('remove_on_complete', 'remove_on_fail') then
            if json_typeof(o.value) = 'object' then
                -- {"days": 7}
                o.value := to_json(case when o.value ->> 'days' ~ '^\d{1,5}(\.\d{1,3})?$'
                    then (o.value ->> 'days')::numeric * 86400000 end);
            end if;
            if coalesce(json_typeof(o.value), 'none') <> 'boolean' and pgconductor.duration_ms(o.value) is null then
                why := 'neither a duration, such as "7d", nor 0 (at once), nor false (never)';
            end if;
        when o.key = 'backoff' then
            if json_typeof(o.value) = 'array' then
                if json_array_length(o.value) not between 1 and 1000 then
                    why := 'a list of 1 to 1000 durations is needed';
                else
                    for b in select value from json_array_elements(o.value) loop
                        if pgconductor.duration_ms(b) is null then
                            why := 'not a duration: ' || b::text;
                        end if;
                    end loop;
                end if;
            elsif json_typeof(o.value) = 'object' then
                if pgconductor.duration_ms(o.value -> 'initial') is null
                    or coalesce(o.value ->> 'factor', '2') !~ '^\d{1,3}(\.\d{1,6})?$'
                    or coalesce(o.value ->> 'factor', '2')::numeric not between 1 and 100
                    or o.value -> 'max' is not null and pgconductor.duration_ms(o.value -> 'max') is null
                then
                    why := 'an exponential one is {"initial": "1s", "factor": 2, "max": "1h"}, with a factor from 1 to 100';
                end if;
            elsif pgconductor.duration_ms(o.value) is null then
                why := 'neither a duration, nor a list of them, nor an object for an exponential one';
            end if;
        when o.key in ('payload_schema', 'returns_schema') then
            -- Whether it can be used is found out by who holds something against it.
            if json_typeof(o.value) not in ('object', 'boolean') then
                why := 'not a JSON Schema, that is an object, true or false';
            elsif octet_length(o.value::text) > 1048576 then
                why := 'longer than 1 MiB';
            end if;
        when o.key = 'concurrency' then
            if json_typeof(o.value) <> 'number' or o.value::text !~ '^\d{1,9}$' or o.value::text::int < 1 then
                why := 'not a whole number from 1 on';
            end if;
        when o.key = 'rate_limit' then
            -- Not faster than a millisecond's clock can tell apart, nor so slow that nobody would see the end of a period.
            for b in
                select e.value from json_array_elements(case json_typeof(o.value) when 'array' then o.value
                    else json_build_array(o.value) end) e
            loop
                if json_typeof(b) <> 'object' or coalesce(b ->> 'limit', '') !~ '^[1-9]\d{0,6}$'
                    or b -> 'period' is not null
                        and coalesce(pgconductor.duration_ms(b -> 'period'), 0) not between 1 and 31536000000
                    or coalesce(b ->> 'burst', '1') !~ '^[1-9]\d{0,6}$'
                    or exists (select from json_object_keys(b) k where k not in ('limit', 'period', 'burst', 'key'))
                then
                    why := 'one is {"limit": 100, "period": "1s", "burst": 100}: whole numbers from 1 on, and a duration up to a year';
                elsif b -> 'key' is not null and not pgconductor.is_path(b -> 'key') then
                    why := 'key: not where it stands in the payload, such as "customer.id"';
                end if;
            end loop;
            if json_typeof(o.value) = 'array' and why is null
                and (select count(*) <> 2 or count(e.value -> 'key') <> 1 from json_array_elements(o.value) e)
            then
                why := 'a list has two: one of all, and one with a key';
            end if;
        when o.key = 'concurrency_key' and json_typeof(o.value) = 'object' then
            if not coalesce(pgconductor.is_path(o.value -> 'key'), false) or coalesce(o.value ->> 'limit', '1') !~ '^[1-9]\d{0,8}$'
                or coalesce(json_typeof(o.value -> 'limit'), 'number') <> 'number'
                or exists (select from json_object_keys(o.value) k where k not in ('key', 'limit'))
            then
                why := 'one is {"key": "customer.id", "limit": 2}: where the key stands in the payload, and a whole number from 1 on';
            end if;
        when o.key in ('concurrency_key', 'fifo_key') then
            if not pgconductor.is_path(o.value) then
                why := 'not where the key stands in the payload, such as "customer.id"';
            end if;
        when o.key = 'batch' then
            if json_typeof(o.value) <> 'object' or coalesce(o.value ->> 'size', '') !~ '^([1-9]\d{0,2}|1000)$'
                or o.value -> 'timeout' is not null
                    and coalesce(pgconductor.duration_ms(o.value -> 'timeout'), -1) not between 0 and 86400000
                or exists (select from json_object_keys(o.value) k where k not in ('size', 'timeout'))
            then
                why := 'one is {"size": 100, "timeout": "1s"}: a whole number from 1 to 1000, and a duration up to a day';
            end if;
        when o.key = 'window' then
            if o.value::text !~ '^\s*\[\s*"([01]\d|2[0-3]):[0-5]\d"\s*,\s*"(([01]\d|2[0-3]):[0-5]\d|24:00)"\s*\]\s*$' then
                why := 'one is ["09:00", "17:00"]: when it opens, and when it closes';
            end if;
        when o.key = 'timezone' then
            begin
                perform timestamptz 'epoch' at time zone (o.value #>> '{}');
            exception when others then
                why := 'not a time zone, such as "Europe/Berlin"';
            end;
            if json_typeof(o.value) <> 'string' then
                why := 'not a time zone, such as "Europe/Berlin"';
            end if;
        when o.key = 'days' then
            if o.value::text !~ '^\s*\[\s*"(mon|tue|wed|thu|fri|sat|sun)"(\s*,\s*"(mon|tue|wed|thu|fri|sat|sun)")*\s*\]\s*$' then
                why := 'a list of mon, tue, wed, thu, fri, sat and sun is needed';
            end if;
        when o.key = 'priority' then
            if json_typeof(o.value) <> 'number' or o.value::text !~ '^-?\d{1,5}$' or o.value::text::int not between -32768 and 32767 then
                why := 'not a whole number between -32768 and 32767';
            end if;
        when o.key in ('triggers') then
            raise exception using errcode = 'PC006',
                message = format('%s: options: %s: not available in this version', what, o.key);
        else
            raise exception using errcode = 'PC008',
                message = format('%s: options: %s: no such option', what, o.key),
                hint = 'Options: max_attempts, backoff, timeout, total_timeout, remove_on_complete, remove_on_fail, payload_schema, returns_schema, batch, concurrency, rate_limit, concurrency_key, fifo_key, window, timezone, days, priority.';
        end case;
        if why is not null then
            raise exception using errcode = 'PC008', message = format('%s: options: %s: %s', what, o.key, why),
                detail = format('It is: %s', left(o.value::text, 100));
        end if;
        result := result || jsonb_build_object(o.key, o.value::jsonb);
    end loop;
    return result;
end
$$;

comment on function pgconductor.check_options(text, json) is
'Engine. Checks a task''s options, and returns them for tasks.sources. Null values are left out. PC006: option not available; PC008: no such option, or bad value.';
