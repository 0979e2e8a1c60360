create or replace function pgconductor.escaped_value(payload json, path text[])
returns text
language plpgsql immutable
as $$
declare
    mark text;
    raw text;
begin
    return payload #>> path;
exception when untranslatable_character or invalid_text_representation then
    -- Somewhere is an escape that is no character. If it is not there, it does not matter; else it counts as it is written.
    mark := pgconductor.free_mark(payload::text);
    raw := pgconductor.show_escapes(pgconductor.hide_escapes(payload::text, mark)::json #>> path, mark);
    begin
        return ('"' || raw || '"')::json #>> '{}';
    exception when others then
        return raw;
    end;
end
$$;

comment on function pgconductor.escaped_value(json, text[]) is
'Engine. What stands there in a payload that has escapes in it, as text.';
