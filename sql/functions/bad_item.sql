create or replace function pgconductor.bad_item(items json)
returns table (pos int, code text, why text)
language plpgsql immutable
as $$
declare
    i record;
    o record;
    t text;
begin
    for i in select e.value, e.n::int - 1 as n from json_array_elements(items) with ordinality as e(value, n) loop
        pos := i.n;
        if json_typeof(i.value) <> 'object' then
            code := 'PC009';
            why := format(': not an object but %s', json_typeof(i.value));
            return next;
            continue;
        end if;
        for o in select e.key, e.value from json_each(i.value) e where e.key not in ('payload', 'metadata') loop
            t := o.value #>> '{}';
            why := null;
            code := 'PC009';
            if o.key not in ('queue', 'priority', 'run_at', 'delay') then
                code := case when o.key in ('dedupe_key', 'dedupe_for', 'throttle', 'debounce', 'max_wait') then 'PC006'
                    else 'PC009' end;
                why := format('.%s: %s', o.key, case code when 'PC006' then 'not available in this version'
                    else 'no such option' end);
            elsif json_typeof(o.value) = 'null' then
                continue;
            elsif o.key = 'queue' and (json_typeof(o.value) <> 'string' or t !~ '^[a-z0-9_][a-z0-9_.-]{0,62}$') then
                code := 'PC004';
                why := format('.queue: %s is not a queue''s name', o.value);
            elsif o.key = 'priority'
                and (json_typeof(o.value) <> 'number' or t !~ '^-?\d{1,5}$' or t::int not between -32768 and 32767)
            then
                why := format('.priority: %s is not between -32768 and 32767', o.value);
            elsif o.key in ('run_at', 'delay') then
                code := 'PC005';
                begin
                    if json_typeof(o.value) <> 'string' then
                        why := format('.%s: %s is not a string', o.key, o.value);
                    elsif o.key = 'run_at' then
                        perform pgconductor.due_time('', t::timestamptz, null);
                    else
                        perform pgconductor.due_time('', null, t::interval);
                    end if;
                exception when others then
                    why := format('.%s: %s', o.key, regexp_replace(sqlerrm, '^: \w+: ', ''));
                end;
            end if;
            if why is not null then
                return next;
            end if;
        end loop;
        if i.value ->> 'run_at' is not null and i.value ->> 'delay' is not null then
            code := 'PC005';
            why := ': run_at, delay: give one of them, not both';
            return next;
        end if;
    end loop;
end
$$;

comment on function pgconductor.bad_item(json) is
'Engine. What is wrong with the items of invoke_batch: position from 0, SQLSTATE, and why.';
