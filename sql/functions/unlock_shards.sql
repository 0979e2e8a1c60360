create or replace function pgconductor.unlock_shards(shards int[])
returns void
language plpgsql volatile
as $$
declare
    s int;
begin
    update pgconductor.shards x set idle = true where x.id = any (shards) and x.task is not null;
    foreach s in array shards loop
        perform pg_advisory_unlock(1346847490, s);
    end loop;
    perform pg_notify('pgconductor', 'nodes');
end
$$;

comment on function pgconductor.unlock_shards(int[]) is
'Engine, on the writer. Lets go of shards, after release() and when everything written for them is acknowledged, and tells the other nodes.';
