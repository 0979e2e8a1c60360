create or replace function pgconductor.read_change(change json)
returns pgconductor.watches
language plpgsql stable
as $$
#variable_conflict use_column
declare
    w pgconductor.watches;
begin
    w.problem := case
        when json_typeof(change) is distinct from 'object' then 'not a JSON object'
        when position('\u0000' in change::text) > 0 then 'it has \u0000 in it' end;
    if w.problem is not null then
        return w;
    end if;
    w.problem := (select format('%s: there are schema, table, operation, columns and when', k)
        from json_object_keys(change) k where k not in ('schema', 'table', 'operation', 'columns', 'when') limit 1);
    w.problem := coalesce(w.problem, (select format('%s: not a string', e.key)
        from json_each(change) e where e.key <> 'columns' and json_typeof(e.value) not in ('string', 'null') limit 1));
    w.schema := coalesce(change ->> 'schema', 'public');
    w."table" := change ->> 'table';
    w.operation := lower(change ->> 'operation');
    w."when" := change ->> 'when';
    w.columns := case json_typeof(change -> 'columns')
        when 'array' then array(select f from json_array_elements_text(change -> 'columns') f)
        when 'string' then array(select btrim(f) from regexp_split_to_table(change ->> 'columns', ',') f) end;
    w.problem := coalesce(w.problem, case
        when w."table" is null then 'table is missing'
        when '' in (w.schema, w."table") or greatest(octet_length(w.schema), octet_length(w."table")) > 63
            then format('%I.%I is not a table''s name', w.schema, w."table")
        when coalesce(w.operation, '') not in ('insert', 'update', 'delete')
            then format('operation: %s is none of insert, update and delete', coalesce(quote_literal(change ->> 'operation'), 'null'))
        when json_typeof(change -> 'columns') not in ('string', 'array', 'null') or w.columns = '{}'
            or exists (select from unnest(w.columns) c where c is null or octet_length(c) not between 1 and 63)
            then 'columns: neither a list of names nor names with commas between them'
        when w."when" is not null then 'when: ' || (pgconductor.fragment_fault(w."when")).fault end);
    -- Each of them once, in that order.
    w.columns := case when w.columns is not null then array(
        select u.c from unnest(w.columns) with ordinality as u(c, n) group by u.c order by min(u.n)) end;
    w.what := encode(sha256(convert_to(json_build_array(w.schema, w."table", w.operation, w.columns, w."when")::text, 'UTF8')), 'hex');
    return w;
end
$$;

comment on function pgconductor.read_change(json) is
'Engine. What a program says of a change: {"schema", "table", "operation", "columns", "when"}; public if it says no schema, all columns if none. problem: what is wrong with it; whether there is such a table is not looked at.';
