create or replace function pgconductor.execution_logs(id bigint, after bigint default 0, max int default 1000)
returns table (seq bigint, at timestamptz, attempt int, level text, message text, fields json)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select l.seq, l.at, l.attempt, l.level, l.message, l.fields
    from pgconductor.logs l
    where l.execution = execution_logs.id and l.seq > execution_logs.after
    order by l.seq
    limit execution_logs.max
$$;

comment on function pgconductor.execution_logs(bigint, bigint, int) is
'What an execution has logged and printed, in order: the first max lines (null: all) behind the line with the seq after. level: debug, info, warn or error. All lines of an attempt are there when its outcome is.';
