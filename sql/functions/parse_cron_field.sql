create or replace function pgconductor.parse_cron_field(value text, low int, high int, words text[], out bits text, out why text)
language plpgsql immutable
as $$
declare
    part text;
    m text[];
    first int;
    last int;
    step int;
begin
    bits := repeat('0', high - low + 1);
    foreach part in array string_to_array(value, ',') loop
        m := regexp_match(part, '^(?:(\*)|(\d{1,4}|[a-z]{3})(?:-(\d{1,4}|[a-z]{3}))?)(?:/(\d{1,4}))?$', 'i');
        if m is null then
            why := format('%L: neither *, a value, a range as in %s-%s, nor one with a step as in */2', part, low, low + 1);
            return;
        end if;
        first := case when m[1] is not null then low when m[2] ~ '\d' then m[2]::int
            else array_position(words, lower(m[2])) - 1 + low end;
        last := case when m[1] is not null or m[3] is null and m[4] is not null then high when m[3] is null then first
            when m[3] ~ '\d' then m[3]::int else array_position(words, lower(m[3])) - 1 + low end;
        -- Of weekdays 7 is Sunday too: a range that ends there has its last day at the end of the week.
        if high = 7 and last = 0 and first > 0 and m[3] is not null then
            last := 7;
        elsif high = 7 and m[3] is null and (m[1] is not null or m[4] is not null) then
            last := 6;
        end if;
        step := coalesce(m[4]::int, 1);
        if first is null or last is null then
            why := format('%L: not one of %s', part, coalesce(array_to_string(words, ', '), 'the numbers ' || low || ' to ' || high));
        elsif first not between low and high or last not between low and high then
            why := format('%L: not between %s and %s', part, low, high);
        elsif first > last then
            why := format('%L: the range ends before it begins', part);
        elsif step not between 1 and high - low then
            why := format('%L: the step is not between 1 and %s', part, high - low);
        end if;
        if why is not null then
            return;
        end if;
        for n in first - low .. last - low by step loop
            bits := overlay(bits placing '1' from n + 1);
        end loop;
    end loop;
end
$$;

comment on function pgconductor.parse_cron_field(text, int, int, text[]) is
'Engine. One field of a cron expression: a bit, 0 or 1, for each value from low to high; or why it is none. words: names of the values, from low on.';
