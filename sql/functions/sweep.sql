-- Its place is kept by the session, between one call and the next.
create or replace function pgconductor.sweep(max int)
returns int
language plpgsql volatile
as $$
declare
    began constant timestamptz := clock_timestamp();
    place bigint := coalesce(nullif(current_setting('pgconductor.swept', true), '')::bigint, 0);
    upto bigint;
    n int;
begin
    -- Through the executions that have steps, in the order of their ids, for a second: see expire.
    while clock_timestamp() < began + interval '1 second' loop
        select w.execution into upto
        from (
            select s.execution from pgconductor.steps s where s.execution > place order by s.execution limit sweep.max
        ) w
        order by w.execution desc
        limit 1;
        if not found then
            perform set_config('pgconductor.swept', '0', false);
            -- There are few at any time, and their owners take nearly all of them.
            delete from pgconductor.wakes w
            using (
                select x.shard, x.xid, x.id from pgconductor.wakes x
                where not exists (select from pgconductor.executions e where e.id = x.execution)
                limit sweep.max
                for update skip locked
            ) o
            where w.shard = o.shard and w.xid = o.xid and w.id = o.id;
            get diagnostics n = row_count;
            -- Waits for events that have not come, of what waits no more; the dispatcher forgets them when one comes.
            delete from pgconductor.event_waits w
            using (
                select x.id from pgconductor.event_waits x
                where not exists (
                    select from pgconductor.steps s
                    where s.execution = x.execution and s.key = x.key and s.pos = x.wait and s.due_at is not null)
                limit sweep.max
                for update skip locked
            ) o
            where w.id = o.id;
            return case when n = sweep.max then n else 0 end;
        end if;
        -- What begins its life writes its row and its steps in one transaction, and what ends it removes them in one.
        delete from pgconductor.steps s
        where s.execution > place and s.execution <= upto
            and not exists (select from pgconductor.executions e where e.id = s.execution);
        place := upto;
    end loop;
    perform set_config('pgconductor.swept', place::text, false);
    return 1;
end
$$;

comment on function pgconductor.sweep(int) is
'Engine. Removes steps and wakes of executions that are no more, as when their rows were removed by hand; so many rows at a time, for about a second. Above 0: there may be more.';
