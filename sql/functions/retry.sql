create or replace function pgconductor.retry(id bigint)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    dice constant float8 := random();
    present constant timestamptz := pgconductor.now();
    f pgconductor.finished_executions;
    home int;
    ends timestamptz;
    key text;
begin
    select h.* into f from pgconductor.finished_executions h where h.id = retry.id order by h.finished_at desc limit 1;
    if not found then
        return false;
    end if;

    select q.shard_ids[1 + floor(dice * cardinality(q.shard_ids))::int] into home
    from pgconductor.queues q where q.name = f.queue;
    -- See find_home.
    select x.ends, coalesce(x.own, home), case when x.own is not null then pgconductor.key_of(f.payload, x.key_path) end
    into ends, home, key
    from (select 1) one
    left join lateral (
        select present + t.total_timeout_ms * interval '1 ms' as ends, pgconductor.own_shard(t, f.queue) as own, t.key_path
        from pgconductor.tasks t where t.name = f.task
    ) x on true;
    perform pgconductor.use_lane('pgconductor.retry', home, f.priority);
    insert into pgconductor.executions (id, created_at, run_at, shard, lane, priority, awaited, queue, task, payload,
        metadata, event, event_at, event_kind, expires_at, journal, key)
    values (f.id, f.created_at, present, home, -f.priority, f.priority, pgconductor.is_on('pgconductor.await'),
        f.queue, f.task, f.payload, f.metadata, f.event, f.event_at, f.event_kind, ends, case when f.steps is not null then true end, key)
    on conflict (id) do nothing;
    if not found then
        return false;
    end if;
    -- What is done is done. What it waited for in vain is tried once more. None of an earlier life can be left, unless
    -- somebody has removed that by hand.
    delete from pgconductor.steps s where s.execution = f.id;
    insert into pgconductor.steps (execution, key, result)
    select f.id, s.key, s.result from unnest(f.steps) with ordinality as s(key, result, error, pos)
    where s.error is null order by s.pos
    on conflict do nothing;
    insert into pgconductor.retried (id) values (f.id) on conflict do nothing;
    perform pgconductor.wake(array[home]);
    return true;
end
$$;

comment on function pgconductor.retry(bigint) is
'Runs a finished execution again, from its first attempt, whatever its state; steps that it has saved are not done again. Its history stays as it is. False if there is no history of it, or if it is unfinished.';
