create or replace function pgconductor.invoke_batch(task text, items json)
returns bigint[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    body constant text := invoke_batch.items::text;
    present constant timestamptz := pgconductor.now();
    wanted constant boolean := pgconductor.is_on('pgconductor.await');
    dice constant int := floor(random() * 1024);
    mark text;
    bad record;
    made bigint[];
    used int[];
begin
    -- The functions that take JSON apart replace escapes, and fail on \u0000 and on half a surrogate pair. Where there
    -- are any, they are kept from them: see hide_escapes.
    if position('\' in body) > 0 then
        mark := pgconductor.free_mark(body);
    end if;

    with given as materialized (
        select r.*, row_number() over () as pos
        from json_to_recordset(case when mark is null then invoke_batch.items
                else pgconductor.hide_escapes(body, mark)::json end)
            as r(payload json, queue text, priority int, run_at timestamptz, delay interval, metadata json,
                dedupe_key json, dedupe_for json, throttle json, debounce json, max_wait json)
    ), ready as (
        select g.pos, coalesce(case when mark is null then g.payload
                else pgconductor.show_escapes(g.payload::text, mark)::json end, 'null'::json) as payload,
            case when mark is null then g.metadata
                else pgconductor.show_escapes(g.metadata::text, mark)::json end as metadata,
            coalesce(g.priority, 0) as priority,
            case when g.run_at is null and g.delay is null then present
                else pgconductor.due_time('pgconductor.invoke_batch', g.run_at, g.delay) end as due,
            q.name as queue, q.shard_ids[1 + (g.pos + dice) % cardinality(q.shard_ids)] as shard
        from given g
        cross join (select t.queue from pgconductor.tasks t where t.name = invoke_batch.task) t
        join pgconductor.queues q on q.name = coalesce(g.queue, t.queue)
    ), put as (
        insert into pgconductor.executions (ready_xid, created_at, run_at, shard, lane, priority, awaited, queue, task,
            payload, metadata)
        select case when r.due <= present then pg_current_xact_id() end, present, r.due, r.shard, -r.priority,
            r.priority, wanted, r.queue, invoke_batch.task, r.payload, r.metadata
        from ready r
        order by r.pos
        returning id, shard, lane
    ), lane as (
        insert into pgconductor.lanes (shard, lane)
        select distinct p.shard, p.lane from put p
        where p.lane <> 0
            and not exists (select from pgconductor.lanes l where l.shard = p.shard and l.lane = p.lane)
    )
    select array_agg(p.id order by p.id), array_agg(distinct p.shard) into made, used from put p;

    perform pgconductor.wake(used);
    return coalesce(made, '{}');
end
$$;

comment on function pgconductor.invoke_batch(text, json) is
'Creates many executions of a task at once, all or none, and returns their ids in the order of items: an array of objects with payload and, as for invoke, queue, priority, run_at, delay, metadata. Errors as invoke.';
