create or replace function pgconductor.wake(shards int[])
returns void
language sql volatile
as $$
    select pgconductor.awake(s.owner)
    from (select distinct x.owner from pgconductor.shards x where x.id = any (wake.shards)) s
$$;

comment on function pgconductor.wake(int[]) is
'Engine. Makes sure that the owners of shards see what this transaction makes ready, see awake().';
