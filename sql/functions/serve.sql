create or replace function pgconductor.serve(node int, queues text[], serves text[])
returns void
language plpgsql volatile
as $$
declare
    q text;
begin
    -- In one order everywhere, so that nodes starting together do not wait for each other in a circle.
    for q in select distinct u from unnest(serve.queues) u order by u loop
        perform pgconductor.ensure_queue(q);
    end loop;
    update pgconductor.nodes n
    set queues = serve.queues, serves = serve.serves, seen_at = pgconductor.now()
    where n.id = serve.node;
    perform pg_notify('pgconductor', 'nodes');
end
$$;

comment on function pgconductor.serve(int, text[], text[]) is
'Engine. Stores what a node serves, makes missing queues, and tells all nodes. queues: names; serves: ''queue/task'' of each task. PC004: bad queue name.';
