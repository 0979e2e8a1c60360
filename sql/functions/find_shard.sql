create or replace function pgconductor.find_shard(queue text, task text)
returns int
language sql stable
as $$
    select s.id from pgconductor.shards s where s.queue = find_shard.queue and s.task = find_shard.task
$$;

comment on function pgconductor.find_shard(text, text) is
'Engine. The shard that a task has of its own in a queue, null if it has none there, see ensure_shard.';
