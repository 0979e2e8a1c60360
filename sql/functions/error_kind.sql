create or replace function pgconductor.error_kind(error json)
returns json
language plpgsql immutable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    mark constant text := pgconductor.free_mark(coalesce(error::text, ''));
    -- See invoke_items.
    plain constant json := pgconductor.hide_escapes(error::text, mark);
begin
    if json_typeof(plain) is distinct from 'object' then
        return error;
    end if;
    return pgconductor.show_escapes(json_strip_nulls(json_build_object('code', plain -> 'code', 'type', plain -> 'type',
        'message', plain -> 'message'))::text, mark)::json;
end
$$;

comment on function pgconductor.error_kind(json) is
'What errors of one kind have in common: code, type and message, without the traceback and the data.';
