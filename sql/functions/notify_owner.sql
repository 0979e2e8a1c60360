create or replace function pgconductor.notify_owner(owner int)
returns boolean
language plpgsql volatile
as $$
begin
    if current_setting('pgconductor.notify', true) is distinct from 'off' then
        perform pg_notify('pgconductor_' || owner, '');
    end if;
    return true;
end
$$;

comment on function pgconductor.notify_owner(int) is
'Engine. Wakes a node when this transaction commits, unless the setting pgconductor.notify is off (for transactions that will be prepared). Always true.';
