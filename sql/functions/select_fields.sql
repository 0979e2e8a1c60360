create or replace function pgconductor.select_fields(payload json, fields text[])
returns json
language plpgsql immutable
as $$
declare
    mark text;
begin
    if json_typeof(payload) is distinct from 'object' then
        return '{}';
    -- See invoke_items.
    elsif position('\' in payload::text) > 0 then
        mark := pgconductor.free_mark(payload::text);
        return pgconductor.show_escapes(pgconductor.select_fields(pgconductor.hide_escapes(payload::text, mark)::json, fields)::text,
            mark)::json;
    end if;
    -- What is left out, which may be most of it, costs next to nothing.
    return (
        select '{' || coalesce(string_agg(to_json(m.key)::text || ':' || case when m.whole then m.value
            else pgconductor.select_fields(m.value,
                array(select substr(f, length(m.key) + 2) from unnest(fields) f where starts_with(f, m.key || '.'))) end::text,
            ',' order by m.n), '') || '}'
        from (
            select e.key, e.value, e.n, e.key = any (fields) as whole
            from json_each(payload) with ordinality e(key, value, n)
        ) m
        where m.whole or json_typeof(m.value) = 'object'
            and exists (select from unnest(fields) f where starts_with(f, m.key || '.')));
end
$$;

comment on function pgconductor.select_fields(json, text[]) is
'Engine. The parts of a payload that fields name, in their places: "total", or "user.id" for what stands in an object. Those that it does not have are left out.';
