create or replace function pgconductor.declare_events(program text, queue text, events json)
returns void
language plpgsql volatile
as $$
#variable_conflict use_column
begin
    -- Programs say it at every start. When that says nothing new it takes no lock.
    if not exists (
        select from (select e.name, e.schema::text from pgconductor.event_types e
            where e.program = declare_events.program and e.queue = declare_events.queue) old
        full join (select s.name collate "C" as name, s.schema::text from json_to_recordset(events) as s(name text, schema json)) new
            on new.name = old.name
        where old.name is null or new.name is null or old.schema is distinct from new.schema)
    then
        return;
    end if;
    delete from pgconductor.event_types e
    where e.program = declare_events.program and e.queue = declare_events.queue
        and e.name not in (select s.name from json_to_recordset(events) as s(name text));
    insert into pgconductor.event_types as e (name, program, queue, schema)
    select s.name, declare_events.program, declare_events.queue, s.schema
    from json_to_recordset(events) as s(name text, schema json)
    order by s.name
    on conflict (name, program, queue) do update set schema = excluded.schema
    where e.schema::text is distinct from excluded.schema::text;
    -- Who holds payloads against them.
    perform pg_notify('pgconductor', 'events');
end
$$;

comment on function pgconductor.declare_events(text, text, json) is
'Engine. What the handlers of a program say of events, all of it: what they said before and do not say now is gone. program: as source in declare_task; queue: whose handlers; events: a list of {"name", "schema"}.';
