create or replace function pgconductor.wake(shards int[])
returns void
language plpgsql volatile
as $$
declare
    owner int;
begin
    for owner in select distinct s.owner from pgconductor.shards s where s.id = any (shards) and s.owner is not null loop
        if not pg_try_advisory_xact_lock_shared(1346847491, owner)
            and current_setting('pgconductor.notify', true) is distinct from 'off'
        then
            perform pg_notify('pgconductor_' || owner, '');
        end if;
    end loop;
end
$$;

comment on function pgconductor.wake(int[]) is
'Engine. Wakes the owners of shards, if they sleep, when this transaction commits. A sleeping node, or one about to, holds or awaits its sleep lock; the try fails only then. Notifying always would make commits wait for each other.';
