create or replace function pgconductor.escaped_key(payload json, path text[])
returns text
language plpgsql immutable
as $$
declare
    mark text;
    raw text;
begin
    return pgconductor.fit_key(payload #>> path);
exception when untranslatable_character or invalid_text_representation then
    -- An escape that is no character: it counts as it is written. So do all, but only there.
    mark := pgconductor.free_mark(payload::text);
    raw := pgconductor.show_escapes(pgconductor.hide_escapes(payload::text, mark)::json #>> path, mark);
    begin
        raw := ('"' || raw || '"')::json #>> '{}';
    exception when others then
        null;
    end;
    return pgconductor.fit_key(raw);
end
$$;

comment on function pgconductor.escaped_key(json, text[]) is
'Engine. What key_of does with a payload that has escapes in it.';
