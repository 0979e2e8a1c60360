create or replace function pgconductor.expire(keep interval, max int)
returns int
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    -- Awaited executions of tasks that keep no history have been kept for an hour.
    span constant interval := case when expire.keep = '0' then '1 hour' else expire.keep end;
    goal constant timestamptz := pgconductor.now() - span;
    done constant text[] := array(select t.name from pgconductor.tasks t where t.keep_complete = expire.keep);
    lost constant text[] := array(select t.name from pgconductor.tasks t where t.keep_fail = expire.keep);
    began constant timestamptz := clock_timestamp();
    lap timestamptz;
    step interval := '1 minute';
    at timestamptz;
    stop timestamptz;
    n int;
    total int := 0;
begin
    select e.upto into at from pgconductor.expiries e where e.keep = expire.keep;
    if at is null then
        -- Starts a day early: partitions go by UTC days.
        select to_timestamp(min(substr(c.relname, 10)), 'YYYYMMDD') - interval '1 day' into at
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'pgconductor.finished_executions'::regclass;
        at := least(at, goal);
        insert into pgconductor.expiries (keep, upto) values (expire.keep, at) on conflict do nothing;
    end if;

    -- Through time in windows, wider where there is little to do; for a second or two at most, so that this ends long
    -- before the session's statement_timeout, and what was done is kept.
    while at < goal and total < expire.max and clock_timestamp() < began + interval '1 second' loop
        lap := clock_timestamp();
        stop := least(goal, at + step);
        with old as (
            select f.id, f.finished_at
            from pgconductor.finished_executions f
            where f.finished_at >= at and f.finished_at < stop
                and case f.state when 'completed' then f.task = any (done) else f.task = any (lost) end
            limit expire.max - total
        )
        delete from pgconductor.finished_executions f
        using old o
        where f.id = o.id and f.finished_at = o.finished_at and f.finished_at >= at and f.finished_at < stop;
        get diagnostics n = row_count;
        total := total + n;
        if total < expire.max then
            at := stop;
        end if;
        step := case when clock_timestamp() > lap + interval '200 ms' then greatest(step / 2, interval '1 second')
            else least(step * 2, interval '1 day') end;
    end loop;
    update pgconductor.expiries e set upto = at where e.keep = expire.keep and e.upto < at;
    return case when at < goal then greatest(total, 1) else total end;
end
$$;

comment on function pgconductor.expire(interval, int) is
'Engine. Removes history that its tasks keep for just this long, max rows at most, for about a second. Returns how many; above 0 there may be more.';
