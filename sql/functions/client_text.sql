create or replace function pgconductor.client_text(language text, definitions jsonb, known jsonb)
returns text
language sql immutable
as $$
    -- Names that would be the same are told apart by numbers.
    with given as (
        select k ->> 'kind' as kind, k ->> 'name' as name, k ->> 'payload' as payload, k ->> 'returns' as returns, n,
            c.called || coalesce('_' || nullif(row_number() over (partition by c.called order by n), 1), '') as called
        from jsonb_array_elements(known) with ordinality u(k, n)
        cross join lateral (select case language when 'python' then pgconductor.python_name(k ->> 'name')
            else pgconductor.class_name('public', k ->> 'name') || initcap(k ->> 'kind') end as name) w
        -- What is imported has its name already.
        cross join lateral (select w.name || case when w.name in ('DefineTask', 'DefineEvent') then '_' else '' end as called) c
    ), parts as (
        select coalesce((select string_agg(d, '' order by n) from jsonb_array_elements_text(definitions) with ordinality u(d, n)), '') as types,
            string_agg(case
                when language = 'python' and kind = 'task' then format(E'%s: Task[%s, %s] = remote(%s%s)\n', called, payload, returns, to_json(name),
                    case when payload <> 'Any' then ', ' || payload else '' end)
                when language = 'python' then format(E'%s: EventType[%s] = define_event(%s)\n', called, payload, to_json(name))
                when kind = 'task' then format(E'export type %s = DefineTask<{ name: %s; payload: %s; returns: %s }>;\n', called, to_json(name), payload, returns)
                else format(E'export type %s = DefineEvent<{ name: %s; payload: %s }>;\n', called, to_json(name), payload) end, '' order by n) as names,
            coalesce(string_agg(called, ', ' order by n) filter (where kind = 'task'), '') as tasks,
            coalesce(string_agg(called, ', ' order by n) filter (where kind = 'event'), '') as events
        from given
    )
    select case language when 'python' then
        E'from __future__ import annotations\n\nfrom typing import Any, Literal, Never, NotRequired, Optional, TypeAlias, TypedDict, Union\n\n'
        || E'from pgconductor import EventType, Task, define_event, remote\n' || types || coalesce(E'\n\n' || names, '')
    else
        E'import { EventSchemas, TaskSchemas, type DefineEvent, type DefineTask } from "pgconductor";\n' || types || coalesce(E'\n' || names, '')
        || format(E'\nexport const tasks = TaskSchemas.fromTypes<[%s]>();\nexport const events = EventSchemas.fromTypes<[%s]>();\n', tasks, events) end
    from parts
$$;

comment on function pgconductor.client_text(text, jsonb, jsonb) is
'Engine. See generate_tasks: all of the text. definitions: of types; known: the tasks and events, a list of {"kind", "name", "payload", "returns"}.';
