create or replace function pgconductor.execution_steps(id bigint)
returns table (key text, result json, error json, due_at timestamptz, child bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    if exists (select from pgconductor.executions e where e.id = execution_steps.id) then
        return query
            select s.key::text, case when s.due_at is null and s.error is null then coalesce(s.result, 'null') end,
                case when s.due_at is null then s.error end, s.due_at,
                case when s.due_at is not null then (
                    select e.id from pgconductor.executions e
                    where e.parent = s.execution and e.parent_key = s.key limit 1) end
            from pgconductor.steps s
            where s.execution = execution_steps.id
            order by s.pos;
    else
        return query
            select s.key, case when s.error is null then coalesce(s.result, 'null') end, s.error, null::timestamptz, null::bigint
            from (
                select f.steps from pgconductor.finished_executions f
                where f.id = execution_steps.id
                order by f.finished_at desc
                limit 1
            ) h
            cross join lateral unnest(h.steps) s;
    end if;
end
$$;

comment on function pgconductor.execution_steps(bigint) is
'What an execution has remembered, in order: its steps, and the outcomes of what it waited for. Neither result nor error: it still waits for it, until due_at at the latest (infinity: for ever); child: for that execution.';
