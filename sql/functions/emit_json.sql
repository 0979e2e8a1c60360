create or replace function pgconductor.emit(event text, payload json, metadata json default null)
returns bigint
language sql volatile
as $$
    select pgconductor.emit(event, payload::text, metadata)
$$;

comment on function pgconductor.emit(text, json, json) is
'As emit with a text payload. The payload is stored exactly as given.';
