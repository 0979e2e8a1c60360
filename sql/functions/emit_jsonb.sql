create or replace function pgconductor.emit(event text, payload jsonb)
returns bigint
language sql volatile
as $$
    select pgconductor.emit(event, payload::text)
$$;

comment on function pgconductor.emit(text, jsonb) is
'As emit with a text payload. The payload is stored as jsonb writes it.';
