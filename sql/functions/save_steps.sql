create or replace function pgconductor.save_steps(ids bigint[], xids xid8[], keys text[], results json[], again boolean)
returns text[]
language plpgsql volatile
as $$
declare
    n constant int := cardinality(save_steps.ids);
    held int;
    saved int;
begin
    with run as materialized (
        -- Whoever cancels it waits for this: its steps are to go with it.
        select r.id, r.xid, r.key, r.result, r.pos
        from unnest(save_steps.ids, save_steps.xids, save_steps.keys, save_steps.results) with ordinality
            as r(id, xid, key, result, pos)
        cross join lateral (
            select from pgconductor.executions e
            -- Not "=", see settle_plain.
            where e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
            for key share skip locked
        ) e
    ), put as (
        insert into pgconductor.steps (execution, saved_xid, key, result)
        select r.id, r.xid, r.key, r.result from run r order by r.pos
        on conflict do nothing
        returning 1
    )
    select (select count(*) from run), (select count(*) from put) into held, saved;
    if held = n and saved = n then
        return array_fill('ok'::text, array[n]);
    end if;

    -- Those just saved have been written by this transaction; of two with one key it was the first.
    return array(
        select case when e.id is null then 'gone'
            when s.key is null then 'locked'
            when r.nth = 1 and (s.xmin = pg_current_xact_id()::xid or save_steps.again and s.saved_xid = r.xid) then 'ok'
            else 'used' end
        from (
            select u.*, row_number() over (partition by u.id, u.xid, u.key order by u.pos) as nth
            from unnest(save_steps.ids, save_steps.xids, save_steps.keys) with ordinality as u(id, xid, key, pos)
        ) r
        left join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
        -- See take_wakes.
        left join pgconductor.steps s on s.execution = any (array[r.id]) and s.key = any (array[r.key])
        order by r.pos);
end
$$;

comment on function pgconductor.save_steps(bigint[], xid8[], text[], json[], boolean) is
'Engine, on the writer. Saves results of steps of runs (null: JSON null). For each: ok; gone, the run is no more; used, its execution has something under that key already; locked, a client is about to cancel it, so try later. again: the same was sent before, and it is not known whether it was committed: what this run has saved is ok.';
