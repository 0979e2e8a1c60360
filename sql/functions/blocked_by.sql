create or replace function pgconductor.blocked_by(task text)
returns text
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select case when t.window_opens is null or w.open then 'limit' else 'window' end
    from pgconductor.tasks t
    left join lateral pgconductor.window_state(t.window_opens, t.window_closes, t.window_days, t.window_zone, pgconductor.now()) w
        on t.window_opens is not null
    where t.name = blocked_by.task and t.limited
$$;

comment on function pgconductor.blocked_by(text) is
'Engine. What an execution of this task that is ready may have to wait for: limit or window; null: its task is not limited.';
