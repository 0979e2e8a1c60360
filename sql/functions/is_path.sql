create or replace function pgconductor.is_path(value json)
returns boolean
language sql immutable
as $$
    select json_typeof(value) = 'string' and value #>> '{}' ~ '^[^.[:cntrl:]]+(\.[^.[:cntrl:]]+)*$' and octet_length(value #>> '{}') <= 200
$$;

comment on function pgconductor.is_path(json) is
'Engine. Whether this says where a value stands in a payload: names, or positions in lists from 0 on, with dots between them.';
