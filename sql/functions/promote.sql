create or replace function pgconductor.promote(shards int[], after timestamptz, max int)
returns table (promoted int, upto timestamptz, next_due_ms bigint)
language plpgsql volatile
set lock_timeout = '10ms'
as $$
#variable_conflict use_column
declare
    present constant timestamptz := pgconductor.now();
    -- Of one shard, so that not each is read for all: no fewer than it takes to be worth an update.
    share constant int := greatest(promote.max / greatest(cardinality(promote.shards), 1), least(promote.max, 1000));
    more boolean;
    waiting_ids bigint[];
begin
    -- After the last promoted time: before it the index is full of entries of dead rows. What a client holds locked, or
    -- commits behind it, is left for the next full look: nearly always nothing, and locking each row first would cost as much
    -- as a third of the update. Still due: a client may have given it another time meanwhile.
    for careful in 0..1 loop
        begin
            with due as materialized (
                select d.id, d.place, d.run_at, d.waits, s.shard
                from unnest(promote.shards) as s(shard)
                cross join lateral (
                    select e.id, e.ctid as place, e.run_at, e.pending is not null and (e.expires_at is null or e.expires_at > present) as waits
                    from pgconductor.executions e
                    where e.shard = s.shard and e.ready_xid is null
                        and e.run_at > coalesce(promote.after, '-infinity') and e.run_at <= present
                    order by e.run_at
                    limit share
                ) d
                order by d.run_at
                limit promote.max
            ), locked as materialized (
                -- Not "is null": a plan made for an empty table would look for each in the index of what is delayed.
                select d.id, d.place, d.waits
                from due d join pgconductor.executions e on e.ctid = d.place
                where (careful = 1 or d.waits) and coalesce(e.ready_xid, '0') = '0' and e.run_at <= present
                for update of e skip locked
            ), done as (
                update pgconductor.executions e set ready_xid = pg_current_xact_id(), waiting = null, pending = null
                from (
                    select d.place from due d where careful = 0 and not d.waits
                    union all
                    select l.place from locked l where not l.waits
                ) f
                where e.ctid = f.place and coalesce(e.ready_xid, '0') = '0' and e.run_at <= present
                returning 1
            ), read as (
                select count(*) as n, max(d.run_at) as last from due d group by d.shard
            )
            select (select count(*) from done), coalesce(bool_or(r.n >= share) or sum(r.n) >= promote.max, false),
                greatest(least(min(r.last) filter (where r.n >= share), max(r.last)), promote.after),
                (select array_agg(l.id) from locked l where l.waits)
            into promoted, more, upto, waiting_ids from read r;
            exit;
        exception when lock_not_available or deadlock_detected then
            if careful = 1 then
                raise;
            end if;
        end;
    end loop;

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

    if more then
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
'Engine, on the writer. Makes executions of the given shards ready that are due and have no ready_xid (poll_due reads the others), from after on (null: from the beginning; to be done now and then), max at most. upto: pass it as after next time. next_due_ms: milliseconds until the next one is due, null if there is none.';
