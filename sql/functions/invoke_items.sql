create or replace function pgconductor.invoke_items(task text, items json, draft bigint default null)
returns bigint[]
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    what constant text := 'pgconductor.invoke_batch';
    present constant timestamptz := pgconductor.now();
    wanted constant boolean := pgconductor.is_on('pgconductor.await') or draft is not null;
    soon constant timestamptz := present + pgconductor.poll_interval();
    dice constant int := floor(random() * 1024);
    body constant text := invoke_items.items::text;
    mark text;
    plain json := invoke_items.items;
    bad record;
    name text;
    n int;
    ids bigint[];
    answers bigint[];
    used int[];
begin
    if invoke_items.items is null or json_typeof(invoke_items.items) <> 'array' then
        raise exception using errcode = 'PC009',
            message = format('%s: items: not a JSON array but %s', what, coalesce(json_typeof(invoke_items.items), 'null'));
    end if;
    n := json_array_length(invoke_items.items);

    -- The functions that take JSON apart replace escapes, and fail on \u0000 and on half a surrogate pair. Where there
    -- are any escapes, they are kept from them, and are put back exactly as they were.
    if position('\' in body) > 0 then
        mark := pgconductor.free_mark(body);
        plain := pgconductor.hide_escapes(body, mark)::json;
    end if;
    select * into bad from pgconductor.bad_item(plain, mark) limit 1;
    if found then
        raise exception using errcode = bad.code,
            message = format('%s: items[%s]%s', what, bad.pos, pgconductor.show_escapes(bad.why, coalesce(mark, '<'))),
            hint = 'Items are objects with payload and the options of invoke; positions count from 0.';
    end if;

    -- Every queue that is named, so that it exists; that also says if the task does not.
    for name in select distinct r.queue from json_to_recordset(plain) as r(queue text) order by 1 loop
        perform pgconductor.find_home(what, invoke_items.task, name);
    end loop;
    if n = 0 then
        perform pgconductor.find_home(what, invoke_items.task, null);
        return '{}';
    end if;

    ids := case when draft is not null then array[draft]
        else array(select nextval('pgconductor.executions_id_seq') from generate_series(1, n)) end;
    answers := ids;
    if position('"dedupe_' in body) > 0 or position('"throttle"' in body) > 0 or position('"debounce"' in body) > 0 then
        answers := pgconductor.claim_items(what, invoke_items.task, plain, mark, ids, wanted);
    end if;
    with given as materialized (
        select r.*, case when r.debounce is not null then present + least(r.debounce, r.max_wait)
                when r.run_at is null and r.delay is null then present
                else pgconductor.due_time(what, r.run_at, r.delay) end as due
        from (
            select r.*, row_number() over () as pos
            from json_to_recordset(plain) as r(payload json, queue text, priority int, run_at timestamptz,
                delay interval, metadata json, debounce interval, max_wait interval)
        ) r
        where ids[r.pos] = answers[r.pos]
    ), put as (
        insert into pgconductor.executions (id, ready_xid, created_at, run_at, shard, lane, priority, awaited, queue,
            task, payload, metadata, expires_at, key, waiting)
        select ids[g.pos], case when g.due <= present or w.delayed then pg_current_xact_id() end, present, g.due,
            coalesce(h.own, q.shard_ids[1 + (g.pos + dice) % cardinality(q.shard_ids)]), -coalesce(g.priority, t.priority),
            coalesce(g.priority, t.priority), wanted, q.name, t.name,
            b.body,
            case when mark is null then g.metadata else pgconductor.show_escapes(g.metadata::text, mark)::json end,
            g.due + t.total_timeout_ms * interval '1 ms', k.key, case when w.delayed then 'delayed' end
        from given g
        join pgconductor.tasks t on t.name = invoke_items.task
        join pgconductor.queues q on q.name = coalesce(g.queue, t.queue)
        cross join lateral (select pgconductor.own_shard(t, q.name) as own) h
        cross join lateral (
            select coalesce(case when mark is null then g.payload
                else pgconductor.show_escapes(g.payload::text, mark)::json end, 'null') as body
        ) b
        cross join lateral (select case when h.own is not null then pgconductor.key_of(b.body, t.key_path) end as key) k
        -- See invoke_general.
        cross join lateral (select g.due > present and g.debounce is null and k.key is null as delayed) w
        -- The draft was made by a transaction whose commit was not answered.
        on conflict do nothing
        returning shard, lane, run_at, payload
    ), lane as (
        insert into pgconductor.lanes (shard, lane)
        select distinct p.shard, p.lane from put p
        where p.lane <> 0 and not exists (
            select from pgconductor.lanes l where l.shard = p.shard and l.lane = p.lane)
    )
    select array_agg(distinct p.shard) filter (where p.run_at < soon), max(pg_column_size(p.payload)) - 4 as bytes
    into used, n
    from put p;
    perform pgconductor.check_size(what, n);
    perform pgconductor.wake(used);
    return answers;
end
$$;

comment on function pgconductor.invoke_items(text, json, bigint) is
'Engine. What invoke_batch does with items that are not just payloads without special characters. draft: the id of the only one, drawn before; made already, it is not made again.';
