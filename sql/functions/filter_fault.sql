create or replace function pgconductor.filter_fault(filter text)
returns text
language plpgsql volatile
as $$
declare
    bare text;
    depth int := 0;
    c text;
begin
    if filter is null then
        return null;
    elsif btrim(filter, E' \t\r\n') = '' or octet_length(filter) > 10000 then
        return 'it is empty, or longer than 10,000 bytes';
    end if;

    -- What stands in quotes may be anything.
    bare := regexp_replace(filter, '''([^'']|'''')*''|"([^"]|"")*"', E'\x01', 'g');
    if bare ~* E'\\m(e|u&)\x01' then
        return 'it has a string with escapes (E''…'') in it';
    elsif bare ~ '[;$''"]|--|/\*' then
        return 'it has a semicolon, a comment, a dollar sign or half a pair of quotes in it';
    elsif bare ~* '\m(select|table|values|with)\M' then
        return 'it has a query in it';
    end if;
    foreach c in array regexp_split_to_array(regexp_replace(bare, '[^()]', '', 'g'), '') loop
        depth := depth + case c when '(' then 1 when ')' then -1 else 0 end;
        if depth < 0 then
            return 'a parenthesis is closed that was not opened';
        end if;
    end loop;

    begin
        perform pgconductor.evaluate_filter(filter, '{}', '{}');
    exception when others then
        return sqlerrm;
    end;
    return null;
end
$$;

comment on function pgconductor.filter_fault(text) is
'Engine. What is wrong with a condition of events: an SQL expression over event (its key, text) and payload (jsonb); null: nothing.';
