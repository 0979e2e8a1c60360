create or replace function pgconductor.show_escapes(body text, mark text)
returns text
language sql immutable parallel safe
as $$
    select replace(replace(replace(body, mark || '2', '\'), mark || '1', '\"'), mark || '0', '\\')
$$;

comment on function pgconductor.show_escapes(text, text) is 'Engine. Undoes hide_escapes, for a part of the text too.';
