create or replace function pgconductor.refuse_json(what text, value text, why text)
returns void
language plpgsql immutable
as $$
begin
    raise exception using errcode = 'PC002',
        message = format('%s: payload: not JSON: %s', what, why),
        detail = format('It begins with: %s', left(value, 60)),
        hint = 'A JSON string has double quotes: ''"text"''. to_json() makes JSON of any value.';
end
$$;

comment on function pgconductor.refuse_json(text, text, text) is 'Engine. Raises PC002 for a text that is not JSON.';
