create or replace function pgconductor.load_queues()
returns table (name text, paused boolean)
language sql stable
as $$
    select q.name, q.paused_at is not null from pgconductor.queues q
$$;

comment on function pgconductor.load_queues() is 'Engine. What the master must know of each queue: whether it is paused.';
