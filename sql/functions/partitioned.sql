create or replace function pgconductor.partitioned()
returns table (parent text, stem text)
language sql immutable
as $$
    values ('finished_executions', 'finished_'), ('logs', 'logs_'), ('events', 'events_')
$$;

comment on function pgconductor.partitioned() is
'Engine. The tables that have a partition for each UTC day, and what the names of these begin with: the day follows, as YYYYMMDD.';
