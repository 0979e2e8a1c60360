-- An expression, so that it is inlined where it stands; the rare part of it is a call, as every part costs even unused.
create or replace function pgconductor.awake(owner int)
returns boolean
language sql volatile
as $$
    select owner is null or pg_catalog.pg_try_advisory_xact_lock_shared(1346847491, owner)
        or pgconductor.notify_owner(owner)
$$;

comment on function pgconductor.awake(int) is
'Engine. Makes sure that a node will see what this transaction makes ready: it is awake, or is woken at commit. A node that sleeps, or is about to, holds or awaits its sleep lock; the try fails only then. Notifying always would make commits wait for each other. Always true.';
