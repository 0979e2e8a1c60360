create or replace function pgconductor.tend(node int, leaving boolean default false)
returns table (source text, task text, message text)
language plpgsql volatile
as $$
#variable_conflict use_column
begin
    update pgconductor.nodes n
    set seen_at = pgconductor.now(), left_at = case when tend.leaving then pgconductor.now() else n.left_at end
    where n.id = tend.node;
    return query select s.source, s.task, s.message from pgconductor.settle_versions('{}') s;
end
$$;

comment on function pgconductor.tend(int, boolean) is
'Engine. A node says that it is there, or that it stops (leaving), and looks after what others that are not there any more have declared. Returns as settle_versions.';
