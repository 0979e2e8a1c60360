-- Schemas: what payloads, results and events have to be like. Those of tasks stand with their other options.

-- What the handlers of a program, for a queue, have said of events: those that they emit or listen to. schema: a JSON Schema of
-- the payload; null: none.
create table pgconductor.event_types (
    name    text collate "C" not null,
    program text collate "C" not null,
    queue   text collate "C" not null,
    schema  json,
    primary key (name, program, queue)
);
create index event_types_program on pgconductor.event_types (program, queue);

-- It returns more than before.
drop function if exists pgconductor.steps_of(bigint[], xid8[], bigint[], int);
