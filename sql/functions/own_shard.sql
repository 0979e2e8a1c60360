-- One expression, so that it is inlined.
create or replace function pgconductor.own_shard(task pgconductor.tasks, queue text)
returns int
language sql stable
as $$
    select case when not task.limited then null
        when task.queue = own_shard.queue then task.shard_ids[1]
        else pgconductor.find_shard(own_shard.queue, task.name) end
$$;

comment on function pgconductor.own_shard(pgconductor.tasks, text) is
'Engine. The shard that a task has of its own in a queue, if it is limited; null: its executions go to the common ones, from which the reader takes them where they belong.';
