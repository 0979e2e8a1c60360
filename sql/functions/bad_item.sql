create or replace function pgconductor.bad_item(items json, mark text)
returns table (pos int, code text, why text)
language plpgsql immutable
as $$
declare
    i record;
    o record;
    t text;
    spans jsonb;
    named text;
    timed boolean;
begin
    for i in select e.value, e.n::int - 1 as n from json_array_elements(items) with ordinality as e(value, n) loop
        pos := i.n;
        if json_typeof(i.value) <> 'object' then
            code := 'PC009';
            why := format(': not an object but %s', json_typeof(i.value));
            return next;
            continue;
        end if;
        spans := '{}';
        named := null;
        timed := num_nonnulls(i.value ->> 'run_at', i.value ->> 'delay') > 0;
        for o in select e.key, e.value from json_each(i.value) e where e.key not in ('payload', 'metadata') loop
            t := o.value #>> '{}';
            why := null;
            code := 'PC009';
            if o.key not in ('queue', 'priority', 'run_at', 'delay', 'dedupe_key', 'dedupe_for', 'throttle', 'debounce', 'max_wait') then
                why := format('.%s: no such option', o.key);
            elsif json_typeof(o.value) = 'null' then
                continue;
            elsif o.key = 'queue' and (json_typeof(o.value) <> 'string' or t !~ '^[a-z0-9_][a-z0-9_.-]{0,62}$') then
                code := 'PC004';
                why := format('.queue: %s is not a queue''s name', o.value);
            elsif o.key = 'priority'
                and (json_typeof(o.value) <> 'number' or t !~ '^-?\d{1,5}$' or t::int not between -32768 and 32767)
            then
                why := format('.priority: %s is not between -32768 and 32767', o.value);
            elsif o.key = 'dedupe_key' and json_typeof(o.value) <> 'string' then
                why := format('.dedupe_key: %s is not a string', o.value);
            elsif o.key <> 'queue' and o.key <> 'priority' then
                code := case o.key when 'dedupe_key' then 'PC009' else 'PC005' end;
                begin
                    if json_typeof(o.value) <> 'string' then
                        why := format('.%s: %s is not a string', o.key, o.value);
                    elsif o.key = 'dedupe_key' then
                        named := pgconductor.plain_text(t, bad_item.mark);
                    elsif o.key = 'run_at' then
                        perform pgconductor.due_time('', t::timestamptz, null);
                    elsif o.key = 'delay' then
                        perform pgconductor.due_time('', null, t::interval);
                    else
                        spans := spans || jsonb_build_object(o.key, t::interval);
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
        if spans <> '{}' or named is not null then
            select f.code, f.why into code, why
            from pgconductor.flow_fault(named, (spans ->> 'dedupe_for')::interval, (spans ->> 'throttle')::interval,
                (spans ->> 'debounce')::interval, (spans ->> 'max_wait')::interval, timed) f;
            if code is not null then
                why := case when why like '%, %: %' then ': ' else '.' end || why;
                return next;
            end if;
        end if;
    end loop;
end
$$;

comment on function pgconductor.bad_item(json, text) is
'Engine. What is wrong with the items of invoke_batch: position from 0, SQLSTATE, and why. mark: of escapes that were hidden in them; null: none were.';
