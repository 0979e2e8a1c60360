create or replace function pgconductor.result(id bigint)
returns table (state text, result json, error json)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
        select case when r.id is not null then 'running'
                when e.waiting = 'suspended' then 'suspended'
                when pgconductor.delayed(e.waiting, e.run_at) then 'delayed'
                when e.ready_xid is not null or e.run_at = 'infinity' then 'ready'
                else 'delayed' end, null::json, e.error
        from pgconductor.executions e
        left join pgconductor.running r on r.id = e.id and r.ready_xid = e.ready_xid
        where e.id = result.id;
    if not found then
        return query
            select f.state, case when f.state = 'completed' then coalesce(f.result, 'null') end, f.error
            from pgconductor.finished_executions f
            where f.id = result.id
            order by f.finished_at desc
            limit 1;
    end if;
end
$$;

comment on function pgconductor.result(bigint) is
'State (see executions_all), result and error of an execution; no row if it is unknown, or finished and its history gone. `set pgconductor.await = on` before invoke keeps it for an hour at least.';
