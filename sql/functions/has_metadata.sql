create or replace function pgconductor.has_metadata(metadata json, keys text[], vals text[])
returns boolean
language plpgsql immutable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    body text := metadata::text;
begin
    if metadata is null then
        return cardinality(has_metadata.keys) = 0;
    end if;
    -- What no text of PostgreSQL can hold stands for nothing that could be asked for.
    if body ~* '\\u(0000|d[89a-f])' then
        body := regexp_replace(body, '\\u(0000|d[89a-f]..)', '\\ufffd', 'gi');
    end if;
    return not exists (
        select from unnest(has_metadata.keys, has_metadata.vals) as w(key, val)
        where (body::json ->> w.key) is distinct from w.val);
exception when data_exception or invalid_text_representation then
    return false;
end
$$;

comment on function pgconductor.has_metadata(json, text[], text[]) is
'Whether an execution''s metadata has all of these keys with these values. A number, true or an object is compared as its JSON text.';
