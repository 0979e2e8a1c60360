-- Clients call it: their sessions plan as the writer does while it runs. A plan that was made while the table was empty must
-- do for any size of it.
create or replace function pgconductor.claim_keys(task text, claims pgconductor.claim[], awaited boolean)
returns bigint[]
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
    -- All by the claims' positions. No nulls in them: with any, getting at an element takes as long as there are others.
    answers bigint[];
    undecided boolean[];
    changes bigint[] := array_fill(0::bigint, array[cardinality(claim_keys.claims)]);
    places int[];
    found bigint[];
    woken int[];
begin
    -- First without a lock: most keys that count already are found so, and nobody waits for anybody. Then again behind the
    -- locks, by a statement of its own, which sees what was committed while this one waited. "between": see settle_plain; with
    -- "=" all of history might be read into a hash table.
    for pass in 1..2 loop
        select array_agg(case when k.execution is null or c.kind = 'throttle' and k.execution <> c.id then 0 else k.execution end
                order by c.pos), array_agg(k.execution is null order by c.pos)
        into answers, undecided
        from unnest(claim_keys.claims) with ordinality
            as c(id, kind, queue, key, span, max_wait, priority, payload, metadata, pos)
        left join lateral (
            select x.execution from pgconductor.invoke_keys x
            where x.kind = c.kind and x.task = claim_keys.task and x.queue = c.queue and x.key = c.key
                and case when x.execution = c.id then true
                    when c.kind = 'throttle' then x.until > present
                    when c.kind = 'debounce' then false
                    else x.until > present
                        or exists (select from pgconductor.executions e where e.id between x.execution and x.execution)
                        or x.until is null
                            and exists (select from pgconductor.finished_executions f
                                where f.id between x.execution and x.execution) end
        ) k on true;
        exit when not true = any (undecided) or pass = 2;

        -- Each is inserted, or the one that is there locked ("where false": and left as it is), in one order for everybody.
        insert into pgconductor.invoke_keys as k (kind, task, queue, key, execution, first_at, until)
        select c.kind, claim_keys.task, c.queue, c.key, c.id, present, present + least(c.span, c.max_wait)
        from unnest(claim_keys.claims, undecided)
            as c(id, kind, queue, key, span, max_wait, priority, payload, metadata, undecided)
        where c.undecided
        order by c.kind collate "C", c.queue collate "C", c.key collate "C"
        on conflict (kind, task, queue, key) do update set execution = excluded.execution where false;
    end loop;
    if not true = any (undecided) then
        return answers;
    end if;

    -- What is left has a key that counts no more, or that of a burst: whose execution is changed, unless it was made ready, or
    -- somebody has cancelled it, or has given it another time.
    with pending as materialized (
        select e.id, c.pos, c.payload, c.metadata, coalesce(c.priority, 0) as priority,
            least(present + c.span, k.first_at + c.max_wait) as due
        from unnest(claim_keys.claims, undecided) with ordinality
            as c(id, kind, queue, key, span, max_wait, priority, payload, metadata, undecided, pos)
        join pgconductor.invoke_keys k on k.kind = c.kind and k.task = claim_keys.task and k.queue = c.queue and k.key = c.key
        -- Not "=" and "is null", see settle_plain and promote.
        join pgconductor.executions e on e.id between k.execution and k.execution
        where c.kind = 'debounce' and c.undecided
            and coalesce(e.ready_xid, '0') = '0' and e.waiting is null and e.run_at = k.until
        order by e.id
        for update of e
    ), done as (
        -- Nobody reads it before it is ready, so it may be made so here.
        update pgconductor.executions e
        set payload = p.payload, metadata = p.metadata, priority = p.priority, lane = -p.priority, run_at = p.due,
            ready_xid = case when p.due <= present then pg_current_xact_id() end,
            awaited = e.awaited or claim_keys.awaited,
            key = case when e.key is not null then pgconductor.key_of(p.payload,
                (select t.key_path from pgconductor.tasks t where t.name = claim_keys.task)) end,
            expires_at = p.due + (select t.total_timeout_ms * interval '1 ms' from pgconductor.tasks t where t.name = claim_keys.task)
        from pending p
        where e.id between p.id and p.id
        returning e.id, p.pos, e.shard, e.lane, e.run_at
    ), lane as (
        insert into pgconductor.lanes (shard, lane)
        select distinct d.shard, d.lane from done d
        where d.lane <> 0 and not exists (select from pgconductor.lanes l where l.shard = d.shard and l.lane = d.lane)
    )
    select array_agg(d.pos::int), array_agg(d.id),
        array_agg(distinct d.shard) filter (where d.run_at < present + pgconductor.poll_interval())
    into places, found, woken from done d;
    for n in 1..coalesce(cardinality(places), 0) loop
        changes[places[n]] := found[n];
    end loop;

    update pgconductor.invoke_keys k
    set execution = case when c.change = 0 then c.id else c.change end,
        first_at = case when c.change = 0 then present else k.first_at end,
        until = case when c.change = 0 then present + least(c.span, c.max_wait)
            else least(present + c.span, k.first_at + c.max_wait) end
    from unnest(claim_keys.claims, undecided, changes)
        as c(id, kind, queue, key, span, max_wait, priority, payload, metadata, undecided, change)
    where k.kind = c.kind and k.task = claim_keys.task and k.queue = c.queue and k.key = c.key and c.undecided;

    if woken is not null then
        perform pgconductor.wake(woken);
    end if;
    return (
        select array_agg(case when not c.undecided then c.answer when c.change = 0 then c.id else c.change end order by c.pos)
        from unnest(claim_keys.claims, answers, undecided, changes) with ordinality
            as c(id, kind, queue, key, span, max_wait, priority, payload, metadata, answer, undecided, change, pos)
    );
end
$$;

comment on function pgconductor.claim_keys(text, pgconductor.claim[], boolean) is
'Engine. Who gets the keys of a task, all different. For each claim, in order: its own id, when the execution is to be made by the caller, in this transaction; another id, that of the execution that has its key (dedupe), or that has got its payload and its time (debounce); 0: none is to be made (throttle). Waits for transactions that have used the same keys and have not ended; 40001 if one has, and this one cannot see it.';
