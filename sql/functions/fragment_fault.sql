create or replace function pgconductor.fragment_fault(fragment text, out fault text, out bare text)
language plpgsql immutable
as $$
declare
    depth int := 0;
    c text;
begin
    if btrim(fragment, E' \t\r\n') = '' or octet_length(fragment) > 10000 then
        fault := 'it is empty, or longer than 10,000 bytes';
        return;
    end if;
    bare := regexp_replace(fragment, '''([^'']|'''')*''|"([^"]|"")*"', E'\x01', 'g');
    if bare ~* E'\\m(e|u&)\x01' then
        fault := 'it has a string with escapes (E''…'') in it';
    elsif bare ~ '[;$''"]|--|/\*' then
        fault := 'it has a semicolon, a comment, a dollar sign or half a pair of quotes in it';
    end if;
    foreach c in array regexp_split_to_array(regexp_replace(bare, '[^()]', '', 'g'), '') loop
        depth := depth + case c when '(' then 1 when ')' then -1 else 0 end;
        if depth < 0 then
            fault := coalesce(fault, 'a parenthesis is closed that was not opened');
        end if;
    end loop;
end
$$;

comment on function pgconductor.fragment_fault(text) is
'Engine. What keeps an SQL expression from being put between parentheses into a statement of ours; null: nothing. bare: it without what stands in quotes, which may be anything.';
