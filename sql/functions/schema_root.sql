create or replace function pgconductor.schema_root(language text, schema jsonb, name text, inout state jsonb, out type text)
language plpgsql immutable
as $$
declare
    python constant boolean := language = 'python';
    known jsonb := '[]';
    refs jsonb := '{}';
    bodies jsonb := '{}';
    own text;
    made record;
    r record;
begin
    if schema is null then
        type := case when python then 'Any' else 'unknown' end;
        return;
    end if;
    -- Their names first, which nothing else gets then.
    for r in select d.ref, d.called, d.body from pgconductor.schema_definitions(schema, name) d loop
        own := r.called;
        while state -> 'names' ? own loop
            own := own || '_';
        end loop;
        state := jsonb_set(state, '{names}', state -> 'names' || to_jsonb(own));
        refs := refs || jsonb_build_object(r.ref, case when python then to_json(own)::text else own end);
        bodies := bodies || jsonb_build_object(r.ref, r.body);
        known := known || jsonb_build_object('ref', r.ref, 'called', own, 'body', r.body);
    end loop;
    state := jsonb_set(state, '{bodies}', bodies);
    for r in select k ->> 'ref' as ref, k ->> 'called' as called, k -> 'body' as body from jsonb_array_elements(known) with ordinality u(k, n) order by n loop
        select t.type, t.state into made
        from pgconductor.schema_type(language, r.body, r.called, refs, state || jsonb_build_object('own', r.called)) t;
        if made.state ? 'own' and made.type = refs ->> r.ref then
            -- It is what it is.
            made.type := case when python then 'Any' else 'unknown' end;
        end if;
        if made.type <> refs ->> r.ref then
            -- A part of it would have its name.
            if not made.state ? 'own' then
                select t.type, t.state into made from pgconductor.schema_type(language, r.body, r.called || 'Value', refs, state) t;
            end if;
            made.state := jsonb_set(made.state, '{definitions}', made.state -> 'definitions'
                || to_jsonb(format(case when python then E'\n\n%s: TypeAlias = %s\n' else E'\nexport type %s = %s;\n' end, r.called, made.type)));
        end if;
        state := made.state - 'own';
        own := r.called;
    end loop;
    type := own;
end
$$;

comment on function pgconductor.schema_root(text, jsonb, text, jsonb) is
'Engine. See schema_type: a type for a whole schema, defined by that name, with what it refers to. type: what it is called then.';
