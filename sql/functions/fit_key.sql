-- Not in SQL: inlined, it would have its argument computed three times.
create or replace function pgconductor.fit_key(value text)
returns text
language plpgsql immutable
as $$
begin
    return case when octet_length(value) > 200 then left(value, 40) || md5(value) else coalesce(value, '') end;
end
$$;

comment on function pgconductor.fit_key(text) is
'Engine. A key for this value, of at most 200 bytes.';
