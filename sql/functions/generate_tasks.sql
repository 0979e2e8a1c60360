create or replace function pgconductor.generate_tasks(language text)
returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    state jsonb := '{"names": [], "definitions": []}';
    known jsonb := '[]';
    payload text;
    returns text;
    r record;
begin
    if language not in ('typescript', 'python') then
        raise exception using errcode = 'PC009', message = format('%s is neither typescript nor python', quote_literal(language));
    end if;
    for r in
        select t.name, pgconductor.class_name('public', t.name) as called, max(v.value::text) filter (where v.option = 'payload_schema')::jsonb as payload,
            max(v.value::text) filter (where v.option = 'returns_schema')::jsonb as returns
        from pgconductor.tasks t
        left join lateral pgconductor.task_values(t.sources) v on true
        where t.retired_at is null and t.invocable
        group by t.name order by t.name collate "C"
    loop
        select s.type, s.state into payload, state from pgconductor.schema_root(language, r.payload, r.called || 'Payload', state) s;
        select s.type, s.state into returns, state from pgconductor.schema_root(language, r.returns, r.called || 'Returns', state) s;
        known := known || jsonb_build_object('kind', 'task', 'name', r.name, 'payload', payload, 'returns', returns);
    end loop;
    for r in
        select e.name, pgconductor.class_name('public', e.name) as called,
            -- What several programs say of it has to hold, all of it.
            case count(distinct e.schema::text) when 0 then null when 1 then min(e.schema::text)::jsonb
                else jsonb_build_object('allOf', jsonb_agg(distinct e.schema::jsonb)) end as payload
        from pgconductor.event_types e
        where exists (select from pgconductor.tasks t where t.sources ? e.program)
        group by e.name order by e.name collate "C"
    loop
        select s.type, s.state into payload, state from pgconductor.schema_root(language, r.payload, r.called || 'EventPayload', state) s;
        known := known || jsonb_build_object('kind', 'event', 'name', r.name, 'payload', payload);
    end loop;
    return case language when 'python' then '#' else '//' end || E' Made by `pgconductor gen tasks`: change nothing here.\n'
        || pgconductor.client_text(language, state -> 'definitions', known);
end
$$;

comment on function pgconductor.generate_tasks(text) is
'The tasks that can be invoked and the events that programs know, as source text: types of what their schemas say, for a client that does not have their code. language: typescript or python. PC009: another one.';
