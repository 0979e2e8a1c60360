create or replace function pgconductor.shadow_subscriptions(task text)
returns void
language sql volatile
as $$
    update pgconductor.subscriptions s
    set shadow = x.again
    from (
        select o.id, row_number() over (partition by o.key, o."when", o.fields order by o.id) > 1 as again
        from pgconductor.subscriptions o where o.task = shadow_subscriptions.task
    ) x
    where s.id = x.id and s.shadow <> x.again
$$;

comment on function pgconductor.shadow_subscriptions(text) is
'Engine. Of the subscriptions of a task that say the same, of different programs, the first one counts. To be called while its row in tasks is locked.';
