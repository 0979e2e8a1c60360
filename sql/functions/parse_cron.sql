create or replace function pgconductor.parse_cron(what text, expression text)
returns pgconductor.cron
language plpgsql stable
as $$
declare
    names constant text[] := '{second,minute,hour,"day of month",month,"day of week"}';
    lows constant int[] := '{0,0,0,1,1,0}';
    -- Sunday is 0 and 7.
    highs constant int[] := '{59,59,23,31,12,7}';
    trimmed constant text := btrim(coalesce(expression, ''), E' \t');
    full_text text := trimmed;
    fields text[];
    bits text[] := '{}';
    field record;
    why text;
    result pgconductor.cron;
begin
    if left(trimmed, 1) = '@' then
        full_text := case lower(trimmed) when '@yearly' then '0 0 1 1 *' when '@annually' then '0 0 1 1 *'
            when '@monthly' then '0 0 1 * *' when '@weekly' then '0 0 * * 0' when '@daily' then '0 0 * * *'
            when '@midnight' then '0 0 * * *' when '@hourly' then '0 * * * *' end;
        why := format('%L: not one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly', trimmed);
    end if;
    fields := regexp_split_to_array(coalesce(full_text, ''), '[ \t]+');
    if cardinality(fields) = 5 then
        fields := array_prepend('0', fields);
    end if;
    if full_text is not null and cardinality(fields) <> 6 then
        why := format('%L: 5 fields are needed, or 6 with seconds', expression);
    elsif full_text is not null then
        why := null;
    end if;
    if why is null then
        for n in 1..6 loop
            select * into field from pgconductor.parse_cron_field(fields[n], lows[n], highs[n],
                case n when 5 then '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}'::text[]
                    when 6 then '{sun,mon,tue,wed,thu,fri,sat}' end);
            if field.why is not null then
                why := format('%s: %s', names[n], field.why);
                exit;
            end if;
            bits := bits || field.bits;
        end loop;
    end if;
    if why is not null then
        raise exception using errcode = 'PC012', message = format('%s: cron: %s', what, why),
            detail = format('It is: %s', left(coalesce(expression, 'null'), 100)),
            hint = 'Fields: [second] minute hour day-of-month month day-of-week, as in "30 9 * * mon-fri".';
    end if;

    -- Vixie's rule, by how the two fields begin.
    result := row(bits[1], bits[2], bits[3], bits[4], bits[5],
        overlay(left(bits[6], 7) placing case when right(bits[6], 1) = '1' then '1' else left(bits[6], 1) end from 1),
        left(fields[4], 1) <> '*' and left(fields[6], 1) <> '*');
    if not result.either_day and pgconductor.next_tick(result, 'UTC', '2000-01-01 00:00+00') = 'infinity' then
        raise exception using errcode = 'PC012', message = format('%s: cron: day of month: there is no such day', what),
            detail = format('It is: %s', expression);
    end if;
    return result;
end
$$;

comment on function pgconductor.parse_cron(text, text) is
'Engine. A cron expression of five fields, or six that begin with seconds, or one of @yearly, @annually, @monthly, @weekly, @daily, @midnight and @hourly. Names of months and days, ranges, steps and lists are taken. If neither day field begins with *, a day is meant that is in one of both; else one that is in both. PC012: it is none, which the message says of which field, or no day is ever meant.';
