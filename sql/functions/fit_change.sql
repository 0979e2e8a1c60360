create or replace function pgconductor.fit_change(body json, tg_table text, tg_op text)
returns json
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select case when octet_length(body::text) <= s.value::bigint then body
        else json_build_object('old', null, 'new', null, 'tg_table', tg_table, 'tg_op', tg_op,
            'tg_error', format('%s bytes, the limit is %s', octet_length(body::text), s.value)) end
    from pgconductor.settings s
    where s.name = 'max_payload'
$$;

comment on function pgconductor.fit_change(json, text, text) is
'Engine. The payload of a change; if it is above max_payload, one without the rows that says so: whoever writes to a table is not to fail for it.';
