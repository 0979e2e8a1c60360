create or replace function pgconductor.set_invocable(task text, source text, says boolean)
returns void
language sql volatile
as $$
    update pgconductor.tasks t
    set invocable_by = n.by, invocable = not exists (select from jsonb_each(n.by))
            or exists (select from jsonb_each(n.by) e where e.value = 'true')
    from (
        select x.name, x.invocable_by - set_invocable.source || case when set_invocable.says is null then '{}'
            else jsonb_build_object(set_invocable.source, set_invocable.says) end as by
        from pgconductor.tasks x where x.name = set_invocable.task
    ) n
    where t.name = n.name and t.invocable_by <> n.by
$$;

comment on function pgconductor.set_invocable(text, text, boolean) is
'Engine. Stores whether a source lets a task be invoked (null: it does not say). It may be if one does, or none says anything.';
