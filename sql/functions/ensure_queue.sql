create or replace function pgconductor.ensure_queue(name text, shards int default null)
returns void
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    have int[];
    want int;
begin
    if ensure_queue.name is null or ensure_queue.name !~ '^[a-z0-9_][a-z0-9_.-]{0,62}$' then
        raise exception using errcode = 'PC004',
            message = format('pgconductor.ensure_queue: queue: %L is not a queue''s name', ensure_queue.name),
            hint = 'Lower-case letters, digits and _ . - (not first: . -), 63 characters at most.';
    end if;
    if ensure_queue.shards not between 1 and 1024 then
        raise exception using errcode = 'PC009',
            message = format('pgconductor.ensure_queue: shards: %s is not between 1 and 1024', ensure_queue.shards);
    end if;

    -- The usual case takes no lock.
    select q.shard_ids into have from pgconductor.queues q where q.name = ensure_queue.name;
    want := coalesce(ensure_queue.shards, nullif(cardinality(have), 0), 4);
    if cardinality(have) = want then
        return;
    end if;

    insert into pgconductor.queues (name) values (ensure_queue.name) on conflict do nothing;
    perform from pgconductor.queues q where q.name = ensure_queue.name for update;
    with made as (
        insert into pgconductor.shards (queue, position)
        select ensure_queue.name, p from generate_series(0, want - 1) p
        on conflict (queue, position) do nothing
        returning id
    )
    insert into pgconductor.lanes (shard, lane) select id, 0 from made;
    update pgconductor.queues q
    set shard_ids = array(
        select s.id from pgconductor.shards s
        where s.queue = ensure_queue.name and s.position < want order by s.position)
    where q.name = ensure_queue.name;
    perform pgconductor.refresh_routes();
end
$$;

comment on function pgconductor.ensure_queue(text, int) is
'Engine. Makes a queue, or changes how many shards its new executions are spread over (shards: 1 to 1024; null: as it is, 4 for a new one). PC004: bad name. PC009: bad number.';
