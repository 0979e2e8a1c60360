create or replace function pgconductor.change_body(w pgconductor.watches, parts text[])
returns text
language sql stable
as $$
    select pg_catalog.format(E'    body := pg_catalog.json_build_object(''old'', %s, ''new'', %s, ''tg_table'', %L, ''tg_op'', %L);\n',
        parts[1], parts[2], w."table", pg_catalog.upper(w.operation))
$$;

comment on function pgconductor.change_body(pgconductor.watches, text[]) is
'Engine. See change_function: the statement that makes the payload of its parts, the former row and the new one.';
