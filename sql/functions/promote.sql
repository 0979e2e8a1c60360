create or replace function pgconductor.promote(shards int[], after timestamptz, max int)
returns table (promoted int, upto timestamptz, next_due_ms bigint)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    present constant timestamptz := pgconductor.now();
    found_due int;
    waiting_ids bigint[];
begin
    -- After the last promoted time: before it the index is full of entries of dead rows. What a client holds locked, or
    -- commits behind it, is left for the next full look.
    with due as (
        select d.id, d.run_at
        from unnest(promote.shards) as s(shard)
        cross join lateral (
            select e.id, e.run_at
            from pgconductor.executions e
            where e.shard = s.shard and e.ready_xid is null
                and e.run_at > coalesce(promote.after, '-infinity') and e.run_at <= present
            order by e.run_at
            limit promote.max
        ) d
        order by d.run_at
        limit promote.max
    ), free as materialized (
        -- Not "is null": a plan made for an empty table would look for each id in the index of what is delayed.
        -- Not "=", see settle_plain.
        select e.id, e.pending is not null and (e.expires_at is null or e.expires_at > present) as waits
        from due d join pgconductor.executions e on e.id between d.id and d.id
        where coalesce(e.ready_xid, '0') = '0'
            -- Still: a client may have given it another time.
            and e.run_at <= present
        for update of e skip locked
    ), done as (
        update pgconductor.executions e set ready_xid = pg_current_xact_id(), waiting = null, pending = null
        from free f where e.id between f.id and f.id and not f.waits
        returning 1
    )
    select (select count(*) from done), count(*), greatest(max(d.run_at), promote.after),
        (select array_agg(f.id) from free f where f.waits)
    into promoted, found_due, upto, waiting_ids from due d;

    -- Those for which the time of one wait has come, and maybe not that of the others.
    if waiting_ids is not null then
        update pgconductor.executions e
        set ready_xid = case when e.pending <= w.ended or w.next_due is null then pg_current_xact_id() end,
            run_at = case when e.pending <= w.ended or w.next_due is null then present else least(w.next_due, e.expires_at) end,
            waiting = case when e.pending > w.ended and w.next_due is not null then e.waiting end,
            pending = case when e.pending > w.ended and w.next_due is not null then e.pending - w.ended end
        from pgconductor.end_waits(waiting_ids) w
        where e.id between w.id and w.id;
        promoted := promoted + cardinality(waiting_ids);
    end if;

    if found_due >= promote.max then
        -- There may be more of the same time. Should all be locked, it is not asked again at once.
        upto := greatest(upto - interval '1 microsecond', promote.after);
        next_due_ms := case when promoted = 0 then 100 else 0 end;
    else
        -- Every one of them is in the future; without any this is null, which greatest() would hide.
        select ceil(extract(epoch from min(d.run_at) - present) * 1000)::bigint into next_due_ms
        from unnest(promote.shards) as s(shard)
        cross join lateral (
            select e.run_at from pgconductor.executions e
            where e.shard = s.shard and e.ready_xid is null and e.run_at > present and e.run_at < 'infinity'
            order by e.run_at
            limit 1
        ) d;
    end if;
    return next;
end
$$;

comment on function pgconductor.promote(int[], timestamptz, int) is
'Engine, on the writer. Makes delayed and suspended executions of the given shards ready that are due, from after on (null: from the beginning; to be done now and then), max at most. upto: pass it as after next time. next_due_ms: milliseconds until the next one is due, null if there is none.';
