-- One expression, so that it is inlined. The operator fails on \u0000 and on half a surrogate pair, wherever they stand.
create or replace function pgconductor.key_of(payload json, path text[])
returns text
language sql immutable
as $$
    select case when path is null then null
        when strpos(payload::text, '\') > 0 then pgconductor.escaped_key(payload, path)
        else pgconductor.fit_key(payload #>> path) end
$$;

comment on function pgconductor.key_of(json, text[]) is
'Engine. The key of an execution with this payload: what stands there as text, shortened if longer than 200 bytes; an empty text if there is nothing, or null. Null without a path.';
