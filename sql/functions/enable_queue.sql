create or replace function pgconductor.enable_queue(name text, enabled boolean default true)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update pgconductor.queues q
    set paused_at = case when not enable_queue.enabled then coalesce(q.paused_at, pgconductor.now()) end
    where q.name = enable_queue.name;
    if found and current_setting('pgconductor.notify', true) is distinct from 'off' then
        perform pg_notify('pgconductor', 'tasks');
    end if;
    return found;
end
$$;

comment on function pgconductor.enable_queue(text, boolean) is
'Resumes a queue, or pauses it (enabled false): what is in it waits, what runs goes on. It stays so, whatever is deployed. False if there is no such queue.';
