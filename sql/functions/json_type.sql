create or replace function pgconductor.json_type(type oid, schemas text[], language text)
returns text
language plpgsql stable
as $$
declare
    python constant boolean := language = 'python';
    t record;
    element text;
begin
    select p.typtype, p.typname, p.typbasetype, p.typelem, n.nspname, n.nspname = any (schemas) as named,
        n.nspname = 'pg_catalog' as own, p.typsubscript = 'pg_catalog.array_subscript_handler'::regproc as is_array,
        exists (select from pg_catalog.pg_class c where c.oid = p.typrelid and c.relkind = 'c') as is_composite,
        exists (select from pg_catalog.pg_cast c
            where c.castsource = p.oid and c.casttarget = 'json'::regtype and c.castmethod = 'f') as is_json
    into t
    from pg_catalog.pg_type p
    join pg_catalog.pg_namespace n on n.oid = p.typnamespace
    where p.oid = json_type.type;
    if t.typtype = 'd' then
        return pgconductor.json_type(t.typbasetype, schemas, language);
    elsif t.is_array then
        element := pgconductor.json_type(t.typelem, schemas, language);
        return case when python then 'list[' || element || ']'
            when element ~ '^[\w."[\]]+$' then element || '[]' else 'Array<' || element || '>' end;
    elsif t.typtype = 'e' and not t.named then
        return pgconductor.enum_literals(json_type.type, language);
    elsif t.typtype = 'e' then
        return case when python then pgconductor.type_name(json_type.type, schemas)
            else format('Database[%s]["Enums"][%s]', to_json(t.nspname), to_json(t.typname)) end;
    elsif t.typtype = 'c' and t.named and t.is_composite then
        return case when python then format('"%s"', pgconductor.type_name(json_type.type, schemas))
            else format('Database[%s]["CompositeTypes"][%s]', to_json(t.nspname), to_json(t.typname)) end;
    elsif t.typtype = 'c' then
        return case when python then 'dict[str, Any]' else '{ [key: string]: Json }' end;
    elsif t.own and t.typname = 'bool' then
        return case when python then 'bool' else 'boolean' end;
    elsif t.own and t.typname in ('int2', 'int4', 'int8') then
        return case when python then 'int' else 'number' end;
    elsif t.own and t.typname in ('float4', 'float8', 'numeric') then
        return case when python then 'float' else 'number' end;
    elsif t.own and t.typname in ('json', 'jsonb') or not t.own and t.is_json then
        return case when python then 'Any' else 'Json' end;
    end if;
    return case when python then 'str' else 'string' end;
end
$$;

comment on function pgconductor.json_type(oid, text[], text) is
'Engine. For generate_types: how a language calls what to_json makes of a value of a type. Enums and composite types of the schemas go by the names that generate_types gives them.';
