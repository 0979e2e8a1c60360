-- Not in SQL: inlined, it would have to be prepared by each invoke, also of tasks without a key.
create or replace function pgconductor.key_of(payload json, path text[])
returns text
language plpgsql immutable
as $$
declare
    value text;
begin
    if path is null then
        return null;
    end if;
    -- The operator fails on \u0000 and on half a surrogate pair, wherever they stand.
    value := case when strpos(payload::text, '\') = 0 then payload #>> path else pgconductor.escaped_value(payload, path) end;
    return case when octet_length(value) > 200 then left(value, 40) || md5(value) else coalesce(value, '') end;
end
$$;

comment on function pgconductor.key_of(json, text[]) is
'Engine. The key of an execution with this payload: what stands there as text, shortened if longer than 200 bytes; an empty text if there is nothing, or null. Null without a path.';
