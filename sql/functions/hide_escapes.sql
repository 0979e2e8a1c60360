-- In JSON a backslash stands only within strings, where it begins an escape. A run of backslashes thus begins at the
-- beginning of an escape, and taking pairs from the left takes exactly the escapes \\ of it. An escaped quote must be
-- told from the end of a string; for the rest the letter may stand, as text.
create or replace function pgconductor.hide_escapes(body text, mark text)
returns text
language sql immutable parallel safe
as $$
    select replace(replace(replace(body, '\\', mark || '0'), '\"', mark || '1'), '\', mark || '2')
$$;

comment on function pgconductor.hide_escapes(text, text) is
'Engine. A JSON text without any escape, from which show_escapes makes the same text again. mark: see free_mark.';
