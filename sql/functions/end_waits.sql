create or replace function pgconductor.end_waits(ids bigint[])
returns table (id bigint, ended int, next_due timestamptz)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    present constant timestamptz := pgconductor.now();
begin
    return query
    with due as materialized (
        select r.id as execution, w.key
        from unnest(end_waits.ids) as r(id)
        cross join lateral (
            -- Ordered: see settle_full.
            select s.key from pgconductor.steps s where s.execution between r.id and r.id and s.due_at <= present
            order by s.execution, s.due_at
        ) w
    ), over as (
        update pgconductor.steps s
        set due_at = null, ended_xid = pg_current_xact_id()
        from due d
        where s.execution = any (array[d.execution]) and s.key = any (array[d.key])
        returning s.execution, s.key, s.pos, s.error
    ), stopped as (
        -- It belongs to its owner, who is told.
        insert into pgconductor.wakes (execution, wait, shard, error)
        select c.id, o.pos, c.shard, json_build_object('code', 'cancelled', 'message', 'its parent does not wait for it any longer')
        from over o
        cross join lateral (
            select x.id, x.shard from pgconductor.executions x
            where x.parent = o.execution and x.parent_key = o.key and x.parent_wait = o.pos
            order by x.parent, x.parent_key
        ) c
        join pgconductor.shards h on h.id = c.shard
        where o.error is not null and pgconductor.awake(h.owner)
    )
    select u.id, sum(u.n)::int, min(u.due)
    from (
        select o.execution, 1, null::timestamptz from over o
        union all
        select r.id, 0, (
            select s.due_at from pgconductor.steps s
            where s.execution = r.id and s.due_at > present
            order by s.execution, s.due_at
            limit 1)
        from unnest(end_waits.ids) as r(id)
    ) as u(id, n, due)
    group by u.id;
end
$$;

comment on function pgconductor.end_waits(bigint[]) is
'Engine, on the writer. Ends the waits of executions whose time has come, and has the children cancelled that were waited for. For each execution how many, and when the next one comes.';
