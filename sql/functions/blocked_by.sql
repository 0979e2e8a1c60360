create or replace function pgconductor.blocked_by(task text)
returns text
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select case when not coalesce(w.open, true) then 'window'
        -- A key alone holds nothing back: it only makes turns.
        when num_nonnulls(t.concurrency, t.rate_limit, t.key_limit, t.key_rate_limit) > 0 or t.key_fifo then 'limit' end
    from pgconductor.tasks t
    left join lateral pgconductor.window_state(t.window_opens, t.window_closes, t.window_days, t.window_zone, pgconductor.now()) w
        on t.window_opens is not null
    where t.name = blocked_by.task and t.limited
$$;

comment on function pgconductor.blocked_by(text) is
'Engine. What an execution of this task that is ready may have to wait for: limit or window; null: nothing, its task has no limit.';
