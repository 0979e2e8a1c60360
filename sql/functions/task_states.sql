create or replace function pgconductor.task_states()
returns table (task text, state text, programs text[], nodes int[], invocable boolean, triggers text[], retired_at timestamptz)
language sql stable
as $$
    with serving as materialized (
        select s.what, array_agg(n.id order by n.id) as nodes
        from pgconductor.nodes n
        join pgconductor.live_nodes() l on l.node = n.id
        cross join lateral (select distinct u from unnest(n.serves) u) s(what)
        group by s.what
    )
    select t.name, case when t.retired_at is not null then 'retired' when s.nodes is not null then 'served' else 'unserved' end,
        array(select regexp_replace(k, '^code:', '') from jsonb_object_keys(t.sources) k
            where k not in ('set', 'code:client', 'retired') order by k collate "C"),
        coalesce(s.nodes, '{}'), t.invocable,
        case when t.invocable then '{invocable}'::text[] else '{}' end
            || array(select 'cron ' || c.name from pgconductor.schedules c where c.task = t.name order by c.name)
            || array(select distinct case when strpos(e.key, E'\t') > 0 then 'change ' else 'event ' end || split_part(e.key, E'\t', 1) from pgconductor.subscriptions e where e.task = t.name order by 1),
        t.retired_at
    from pgconductor.tasks t
    left join serving s on s.what = t.queue || '/' || t.name
$$;

comment on function pgconductor.task_states() is
'Engine. Of each task whether it is served (by a living node, in its home queue), unserved or retired; the programs that declare it, config for the configuration; the nodes that serve it; whether it can be invoked, and what starts it.';
