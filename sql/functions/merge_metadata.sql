create or replace function pgconductor.merge_metadata(inherited json, own json)
returns json
language plpgsql immutable
as $$
declare
    mark text;
    hidden json;
    mine json;
begin
    if own is null or json_typeof(own) = 'null' then
        return inherited;
    elsif inherited is null or json_typeof(inherited) <> 'object' or json_typeof(own) <> 'object' then
        return own;
    end if;
    -- See invoke_items.
    mark := pgconductor.free_mark(inherited::text || own::text);
    hidden := pgconductor.hide_escapes(inherited::text, mark);
    mine := pgconductor.hide_escapes(own::text, mark);
    return pgconductor.show_escapes((
        select coalesce(json_object_agg(m.key, m.value order by m.n), '{}')
        from (
            select i.key, i.value, 0 as n from json_each(hidden) i
            where not exists (select from json_object_keys(mine) k where k = i.key)
            union all
            select o.key, o.value, 1 from json_each(mine) o
        ) m)::text, mark)::json;
end
$$;

comment on function pgconductor.merge_metadata(json, json) is
'Engine. The metadata of an execution that inherits some and is given some: its own keys count. What is no object counts as a whole.';
