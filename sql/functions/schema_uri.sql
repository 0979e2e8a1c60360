create or replace function pgconductor.schema_uri(ref text, base text)
returns text
language plpgsql immutable
as $$
declare
    -- scheme and authority, path
    parts constant text[] := regexp_match(base, '^([a-z][a-z0-9+.-]*:(?://[^/#]*)?)([^#]*)');
    path text := split_part(ref, '#', 1);
    fragment constant text := substr(ref, length(path) + 1);
    before text;
begin
    -- What is the whole of something has no fragment here.
    if path = '' then
        return split_part(base, '#', 1) || coalesce(nullif(fragment, '#'), '');
    elsif path ~* '^[a-z][a-z0-9+.-]*:' or parts is null then
        return path || coalesce(nullif(fragment, '#'), '');
    elsif path !~ '^/' then
        path := regexp_replace(parts[2], '[^/]*$', '') || path;
    end if;
    loop
        before := path;
        path := regexp_replace(regexp_replace(path, '/\./', '/'), '/(?!\.\./)[^/]+/\.\./', '/');
        exit when path = before;
    end loop;
    return parts[1] || path || coalesce(nullif(fragment, '#'), '');
end
$$;

comment on function pgconductor.schema_uri(text, text) is 'Engine. See schema_type: what a $ref or $id stands for in a schema that is called base, which may be empty.';
