create or replace function pgconductor.ensure_shard(queue text, task text)
returns int
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    made int;
begin
    select s.id into made from pgconductor.shards s where s.queue = ensure_shard.queue and s.task = ensure_shard.task;
    if made is not null then
        return made;
    end if;
    insert into pgconductor.shards (queue, task) values (ensure_shard.queue, ensure_shard.task)
    on conflict do nothing
    returning id into made;
    if made is null then
        select s.id into made from pgconductor.shards s where s.queue = ensure_shard.queue and s.task = ensure_shard.task;
        return made;
    end if;
    insert into pgconductor.lanes (shard, lane) values (made, 0);
    -- Somebody is to take it.
    if current_setting('pgconductor.notify', true) is distinct from 'off' then
        perform pg_notify('pgconductor', 'nodes');
    end if;
    return made;
end
$$;

comment on function pgconductor.ensure_shard(text, text) is
'Engine. The shard that a limited task has of its own in a queue, made if there is none.';
