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
begin
    select h.* into f from pgconductor.finished_executions h where h.id = retry.id order by h.finished_at desc limit 1;
    if not found then
        return false;
    end if;

    select q.shard_ids[1 + floor(dice * cardinality(q.shard_ids))::int] into home
    from pgconductor.queues q where q.name = f.queue;
    perform pgconductor.use_lane('pgconductor.retry', home, f.priority);
    insert into pgconductor.executions (id, created_at, run_at, shard, lane, priority, awaited, queue, task, payload,
        metadata, event)
    values (f.id, f.created_at, present, home, -f.priority, f.priority, pgconductor.is_on('pgconductor.await'),
        f.queue, f.task, f.payload, f.metadata, f.event)
    on conflict (id) do nothing;
    if not found then
        return false;
    end if;
    insert into pgconductor.retried (id) values (f.id) on conflict do nothing;
    perform pgconductor.wake(array[home]);
    return true;
end
$$;

comment on function pgconductor.retry(bigint) is
'Runs a finished execution again, from its first attempt, whatever its state. Its history stays as it is. False if there is no history of it, or if it is unfinished.';
