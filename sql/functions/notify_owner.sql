create or replace function pgconductor.notify_owner(owner int)
returns boolean
language plpgsql volatile
as $$
begin
    -- Named in full: see change_function.
    if coalesce(pg_catalog.current_setting('pgconductor.notify', true), '') operator(pg_catalog.<>) 'off' then
        perform pg_catalog.pg_notify(pg_catalog.concat('pgconductor_', owner), '');
    end if;
    return true;
end
$$;

comment on function pgconductor.notify_owner(int) is
'Engine. Wakes a node when this transaction commits, unless the setting pgconductor.notify is off (for transactions that will be prepared). Always true.';
