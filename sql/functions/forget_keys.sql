-- Its place is kept by the session, between one call and the next.
create or replace function pgconductor.forget_keys(max int)
returns int
language plpgsql volatile
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
    present constant timestamptz := pgconductor.now();
    began constant timestamptz := clock_timestamp();
    place text[] := coalesce(nullif(current_setting('pgconductor.forgot', true), ''), '{"","","",""}')::text[];
    upto text[];
begin
    -- Through all of them in the order of the key, for a second: see expire.
    while clock_timestamp() < began + interval '1 second' loop
        select array[w.kind, w.task, w.queue, w.key] into upto
        from (
            select k.kind, k.task, k.queue, k.key from pgconductor.invoke_keys k
            where (k.kind, k.task, k.queue, k.key) > (place[1], place[2], place[3], place[4])
            order by k.kind, k.task, k.queue, k.key
            limit forget_keys.max
        ) w
        order by w.kind desc, w.task desc, w.queue desc, w.key desc
        limit 1;
        if not found then
            perform set_config('pgconductor.forgot', '', false);
            return 0;
        end if;
        -- Those that count no more, see claim_keys, also for "between". What has history may be retried, and then a key to
        -- dedupe by counts again; so that is asked, but not before history may be gone.
        with aged as materialized (
            select k.kind, k.task, k.queue, k.key, k.execution, k.until
            from pgconductor.invoke_keys k
            where (k.kind, k.task, k.queue, k.key) > (place[1], place[2], place[3], place[4])
                and (k.kind, k.task, k.queue, k.key) <= (upto[1], upto[2], upto[3], upto[4])
                and case k.kind when 'dedupe' then (k.until is null or k.until <= present) and k.first_at + (
                        select least(t.keep_complete, t.keep_fail) from pgconductor.tasks t where t.name = k.task) <= present
                    else k.until <= present end
        ), old as materialized (
            select a.* from aged a
            where case a.kind when 'throttle' then true
                when 'debounce' then not exists (
                    select from pgconductor.executions e
                    where e.id between a.execution and a.execution and coalesce(e.ready_xid, '0') = '0'
                        and e.waiting is null and e.run_at = a.until)
                else not exists (select from pgconductor.executions e where e.id between a.execution and a.execution)
                    and not exists (
                        select from pgconductor.finished_executions f where f.id between a.execution and a.execution) end
        ), free as materialized (
            -- What somebody uses now stays, and so does what was used since: it is not the same any more.
            select o.* from old o
            join pgconductor.invoke_keys k on k.kind = o.kind and k.task = o.task and k.queue = o.queue and k.key = o.key
                and k.execution = o.execution and k.until is not distinct from o.until
            for update of k skip locked
        )
        delete from pgconductor.invoke_keys k
        using free f
        where k.kind = f.kind and k.task = f.task and k.queue = f.queue and k.key = f.key;
        place := upto;
    end loop;
    perform set_config('pgconductor.forgot', place::text, false);
    return 1;
end
$$;

comment on function pgconductor.forget_keys(int) is
'Engine. Removes keys of invoke that count no more; so many rows at a time, for about a second. Above 0: there may be more.';
