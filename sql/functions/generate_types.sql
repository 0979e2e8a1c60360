create or replace function pgconductor.generate_types(language text, schemas text[] default '{public}')
returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    missing text;
begin
    select s into missing from unnest(schemas) s where not exists (select from pg_catalog.pg_namespace n where n.nspname = s);
    if missing is not null then
        raise exception using errcode = 'PC009', message = format('there is no schema %s in this database', quote_ident(missing));
    end if;
    case language
    when 'typescript' then return E'// Made by `pgconductor gen types`: change nothing here.\n' || pgconductor.types_typescript(schemas);
    when 'python' then return E'# Made by `pgconductor gen types`: change nothing here.\n' || pgconductor.types_python(schemas);
    else raise exception using errcode = 'PC009', message = format('%s is neither typescript nor python', quote_literal(language));
    end case;
end
$$;

comment on function pgconductor.generate_types(text, text[]) is
'The tables, views, enums and composite types of some schemas as source text: the rows of changes, as JSON has them. language: typescript (a type Database, as DatabaseSchema.fromGeneratedTypes wants it) or python (TypedDicts). PC009: no such language or schema.';
