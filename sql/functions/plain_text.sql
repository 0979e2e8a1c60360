create or replace function pgconductor.plain_text(body text, mark text)
returns text
language plpgsql immutable
as $$
begin
    if mark is null or position(mark in body) = 0 then
        return body;
    end if;
    return ('"' || pgconductor.show_escapes(body, mark) || '"')::json #>> '{}';
exception when others then
    raise exception using errcode = 'PC009', message = 'it has \u0000 in it, or half of a surrogate pair';
end
$$;

comment on function pgconductor.plain_text(text, text) is
'Engine. What a string of JSON says whose escapes were hidden, see hide_escapes. PC009: no text can say that.';
