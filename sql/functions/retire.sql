create or replace function pgconductor.retire(task text)
returns table (waiting bigint, schedules bigint, nodes int[])
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    said text;
    home text;
begin
    if not exists (select from pgconductor.tasks t where t.name = retire.task) then
        return;
    end if;
    lock table pgconductor.versions in share row exclusive mode;
    update pgconductor.declarations d set retired = true where d.task = retire.task and not d.retired;
    for said in
        select k from pgconductor.tasks t cross join lateral jsonb_object_keys(t.sources) k
        where t.name = retire.task and k not in ('set', 'retired')
        order by k = 'code:client', k
    loop
        perform pgconductor.undeclare(said, retire.task);
    end loop;
    select t.queue into home from pgconductor.tasks t where t.name = retire.task;
    return query
        select (select count(*) from pgconductor.executions e where e.task = retire.task),
            (select count(*) from pgconductor.schedules s where s.task = retire.task),
            array(select n.id from pgconductor.nodes n join pgconductor.live_nodes() l on l.node = n.id
                where home || '/' || retire.task = any (n.serves) order by n.id);
end
$$;

comment on function pgconductor.retire(text) is
'Takes a task out of service: what programs and the configuration say of it counts no more, and their triggers are gone, until a node is started that declares it, or a new version does. Returns the number of its unfinished executions, that of its schedules made at run time, which stay, and the nodes that still serve it; no row if there is no such task.';
