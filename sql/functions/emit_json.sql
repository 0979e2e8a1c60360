create or replace function pgconductor.emit(event text, payload json)
returns bigint
language sql volatile
as $$
    select pgconductor.emit(event, payload::text)
$$;

comment on function pgconductor.emit(text, json) is
'As emit with a text payload. The payload is stored exactly as given.';
