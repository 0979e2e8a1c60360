-- While nodes run different versions of a program, the newest one that has a task is what counts of it.
create or replace view pgconductor.declared as
select n.source, n.task, n.queue, n.home, n.options, n.triggers, n.nodes
from (
    select distinct on (v.source, d.task) v.source, d.task, v.queue, d.home, d.options, d.triggers, d.retired, v.nodes
    from pgconductor.versions v
    join pgconductor.declarations d on d.version = v.id
    order by v.source, d.task, v.id desc
) n
where not n.retired;

comment on view pgconductor.declared is
'Engine. What each source says of its tasks. queue: the one whose handler said it; home: the one that it gave the task.';
