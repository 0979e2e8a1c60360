create or replace function pgconductor.invoke_batch(task text, items json)
returns bigint[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    present constant timestamptz := pgconductor.now();
    wanted constant boolean := pgconductor.is_on('pgconductor.await');
    dice constant int := floor(random() * 1024);
    payloads json[];
    smallest int;
    largest int;
    n int;
    home_queue text;
    shards int[];
    ends timestamptz;
    path text[];
    level int;
    ids bigint[];
begin
    -- Items with nothing but a payload are the usual ones, and have a way of their own at half the cost. They are told by
    -- what is left beside the payload: {"payload":} and a little space, where no other key has room.
    begin
        select array_agg(e.payload), count(*), max(pg_column_size(e.payload)),
            min(case when pg_column_size(e.item) - pg_column_size(e.payload) <= 16 then 1 else 0 end)
        into payloads, n, largest, smallest
        from (select v as item, v -> 'payload' as payload from json_array_elements(invoke_batch.items) v offset 0) e;
    exception when others then
        -- Not an array of objects, or with \u0000 or half a surrogate pair, which -> does not take.
        smallest := null;
    end;
    if smallest is distinct from 1 then
        return pgconductor.invoke_items(invoke_batch.task, invoke_batch.items);
    elsif largest > 1024 then
        perform pgconductor.check_size('pgconductor.invoke_batch', largest - 4);
    end if;

    select t.queue, t.shard_ids, present + t.total_timeout_ms * interval '1 ms', t.priority, t.key_path into home_queue, shards, ends, level, path
    from pgconductor.tasks t where t.name = invoke_batch.task and t.invocable;
    if not found then
        perform pgconductor.find_home('pgconductor.invoke_batch', invoke_batch.task, null);
    elsif level <> 0 then
        return pgconductor.invoke_items(invoke_batch.task, invoke_batch.items);
    end if;
    ids := array(select nextval('pgconductor.executions_id_seq') from generate_series(1, n));
    insert into pgconductor.executions (id, created_at, run_at, shard, awaited, queue, task, payload, expires_at, key)
    select ids[p.pos], present, present, shards[1 + (p.pos + dice) % cardinality(shards)], wanted, home_queue,
        invoke_batch.task, p.payload, ends,
        case when path is not null then pgconductor.key_of(p.payload, path) end
    from unnest(payloads) with ordinality as p(payload, pos);
    perform pgconductor.wake(array(
        select shards[1 + (pos + dice) % cardinality(shards)]
        from generate_series(1, least(n, cardinality(shards))) pos));
    return ids;
end
$$;

comment on function pgconductor.invoke_batch(text, json) is
'Creates many executions of a task at once, all or none, and returns their ids in the order of items: a JSON array of objects with payload and, as for invoke, queue, priority, run_at, delay, dedupe_key, dedupe_for, throttle, debounce, max_wait, metadata. An id may come more than once, or be null, as with invoke; items with the same key count in their order, at one moment. Errors as invoke; PC009 for items that are no such array.';
