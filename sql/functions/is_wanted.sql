create or replace function pgconductor.is_wanted(w pgconductor.watches)
returns boolean
language sql stable
as $$
    select exists (select from pgconductor.subscriptions s where s.key = pgconductor.change_key(w))
        or exists (select from pgconductor.event_waits v where v.event = pgconductor.change_key(w))
$$;

comment on function pgconductor.is_wanted(pgconductor.watches) is 'Engine. A task subscribes to it, or something waits for it.';
