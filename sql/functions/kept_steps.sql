create or replace function pgconductor.kept_steps(execution bigint, asleep boolean)
returns pgconductor.step[]
language sql stable
as $$
    -- More than a row should hold is not kept: who retries the execution then does all of it again.
    select case when sum(coalesce(pg_catalog.pg_column_size(s.result), 0) + coalesce(pg_catalog.pg_column_size(s.error), 0))
            <= 67108864
        then array_agg(row(s.key, s.result, s.error)::pgconductor.step order by s.pos) end
    from pgconductor.steps s
    -- Not "=", see settle_plain.
    where s.execution between kept_steps.execution and kept_steps.execution and s.due_at is null
        -- What it sleeps for was written last, as if it were over; whoever retries it has it sleep anew.
        and (not kept_steps.asleep or s.ended_xid is distinct from (
            select l.ended_xid from pgconductor.steps l
            where l.execution between kept_steps.execution and kept_steps.execution
            order by l.pos desc
            limit 1))
$$;

comment on function pgconductor.kept_steps(bigint, boolean) is
'Engine. What an execution has remembered, for its history; null if that is nothing, or more than 64 MiB. asleep: only time is waited for, and has not passed.';
