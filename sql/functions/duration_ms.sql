create or replace function pgconductor.duration_ms(value json)
returns bigint
language plpgsql immutable
as $$
declare
    t constant text := value #>> '{}';
    m text[];
    ms numeric;
begin
    if json_typeof(value) = 'number' then
        ms := t::numeric;
    elsif json_typeof(value) = 'string' then
        m := regexp_match(t, '^(\d{1,15}(?:\.\d{1,3})?)(ms|s|m|h|d)$');
        if t = '0' then
            ms := 0;
        elsif m is not null then
            ms := m[1]::numeric * case m[2] when 'ms' then 1 when 's' then 1000 when 'm' then 60000 when 'h' then 3600000
                else 86400000 end;
        end if;
    end if;
    -- A hundred years: intervals and times made of it stay in range.
    return case when ms between 0 and 3155760000000 then round(ms) end;
exception when others then
    return null;
end
$$;

comment on function pgconductor.duration_ms(json) is
'Engine. Milliseconds of a duration: "250ms", "10s", "5m", "2h", "7d", "0", or a number of milliseconds. Null if it is none.';
