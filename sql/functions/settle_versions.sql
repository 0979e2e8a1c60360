create or replace function pgconductor.settle_versions(changed text[])
returns table (source text, task text, message text)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    over bigint[];
    d record;
begin
    for round in 1..2 loop
        if round = 2 then
            lock table pgconductor.versions in share row exclusive mode;
        end if;
        -- A node that is not there may be about to come back: its connection was cut, PostgreSQL was started anew.
        with alive as materialized (
            select coalesce(array_agg(n.id), '{}') as ids from pgconductor.nodes n
            where n.left_at is null and (n.seen_at > pgconductor.now() - interval '1 minute'
                or n.id in (select l.node from pgconductor.live_nodes() l))
        ), standing as (
            select v.id, v.source, v.queue, v.nodes && a.ids or v.kept and v.id = max(v.id) over u as counts,
                v.id = max(v.id) over u as last
            from pgconductor.versions v cross join alive a
            window u as (partition by v.source, v.queue)
        ), judged as (
            select s.id, s.counts, s.last, bool_or(s.counts) over (partition by s.source, s.queue) as some from standing s
        )
        select array_agg(j.id) into over from judged j where not j.counts and (j.some or not j.last);
        exit when round = 1 and (over is not null or changed <> '{}') is false;
    end loop;
    if over is null and changed = '{}' then
        return;
    end if;

    with gone as (
        delete from pgconductor.versions v where v.id = any (over) returning v.source
    )
    select array(select distinct c from (select g.source from gone g union all select unnest(changed)) x(c)) into changed;
    -- That there is nothing need not be known for ever.
    delete from pgconductor.versions v
    where v.digest = md5('') and not exists (
        select from pgconductor.versions o where o.source = v.source and o.queue = v.queue and o.id <> v.id);

    for d in
        select x.source, x.task from (
            select s.source, t.name as task from unnest(changed) as s(source) join pgconductor.tasks t on t.sources ? s.source
            union
            select s.program, s.task from pgconductor.schedules s where s.program = any (changed)
            union
            select s.program, s.task from pgconductor.subscriptions s where s.program = any (changed)
        ) x
        where not exists (select from pgconductor.declared y where y.source = x.source and y.task = x.task collate "C")
        order by 1, 2
    loop
        perform pgconductor.undeclare(d.source, d.task);
    end loop;
    -- Of a task that several sources have the triggers once more: what was in the way of one may be gone.
    for d in
        select x.*, 1 as round from pgconductor.declared x where x.source = any (changed)
        union all
        select x.*, 2 from pgconductor.declared x
        where exists (select from pgconductor.declared y where y.task = x.task and y.source = any (changed))
            and exists (select from pgconductor.declared y where y.task = x.task and y.source <> x.source)
        order by round, source, task
    loop
        -- A task is declared though its triggers are none.
        for step in d.round..2 loop
            begin
                if step = 1 then
                    perform pgconductor.declare_task(d.task, d.home, d.options, d.source);
                else
                    perform pgconductor.declare_triggers(d.source, d.task, d.triggers);
                end if;
            exception when others then
                -- Of the server, or of locks: all of it later.
                if sqlstate ~ '^(40|53|55|57|58)' then
                    raise;
                elsif d.round = 1 then
                    source := d.source;
                    task := d.task;
                    message := replace(replace(sqlerrm, 'pgconductor.declare_task: ', ''), format('task %s: ', d.task), '');
                    return next;
                end if;
                exit;
            end;
        end loop;
    end loop;
end
$$;

comment on function pgconductor.settle_versions(text[]) is
'Engine. Forgets the versions that no living node runs (the last one stays), and brings up to date what these, and the sources in changed, declare: the newest version of each task counts, and what no version has any more is retired. Returns what is wrong with tasks and triggers.';
