create or replace function pgconductor.write_logs(ids bigint[], attempts int[], at_ms bigint[], levels text[],
    messages text[], fields json[], now_ms bigint)
returns void
language plpgsql volatile
as $$
declare
    present constant timestamptz := pgconductor.now();
begin
    insert into pgconductor.logs (execution, at, attempt, level, message, fields)
    select l.id, present - make_interval(secs => (write_logs.now_ms - l.at_ms) / 1000.0), l.attempt, l.level, l.message,
        l.fields
    from unnest(write_logs.ids, write_logs.attempts, write_logs.at_ms, write_logs.levels, write_logs.messages,
        write_logs.fields) with ordinality as l(id, attempt, at_ms, level, message, fields, pos)
    -- They are numbered in this order.
    order by l.pos;
end
$$;

comment on function pgconductor.write_logs(bigint[], int[], bigint[], text[], text[], json[], bigint) is
'Engine, on the writer. Stores lines of executions, in the order in which they came. attempts: from 1; at_ms: when, by a clock of the node that now_ms is the time of this call by. 23514: a day has no partition.';
