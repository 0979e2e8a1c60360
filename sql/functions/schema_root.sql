create or replace function pgconductor.schema_root(language text, schema jsonb, name text, inout state jsonb, out type text)
language plpgsql immutable
as $$
declare
    python constant boolean := language = 'python';
    own text := name;
    refs jsonb;
    r record;
begin
    if schema is null then
        type := case when python then 'Any' else 'unknown' end;
        return;
    end if;
    while state -> 'names' ? own loop
        own := own || '_';
    end loop;
    select jsonb_object_agg(d.ref, case when python then to_json(d.called)::text else d.called end) into refs
    from pgconductor.schema_definitions(schema, own) d;
    for r in select d.ref, d.called, d.body from pgconductor.schema_definitions(schema, own) d loop
        select t.type, t.state into type, state from pgconductor.schema_type(language, r.body, r.called, refs, state) t;
        if type <> refs ->> r.ref then
            state := jsonb_build_object('names', state -> 'names' || to_jsonb(r.called), 'definitions', state -> 'definitions'
                || to_jsonb(format(case when python then E'\n\n%s: TypeAlias = %s\n' else E'\nexport type %s = %s;\n' end, r.called, type)));
        end if;
    end loop;
    type := own;
end
$$;

comment on function pgconductor.schema_root(text, jsonb, text, jsonb) is
'Engine. See schema_type: a type for a whole schema, defined by that name, with what it refers to. type: what it is called then.';
