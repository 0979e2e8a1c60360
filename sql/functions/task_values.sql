create or replace function pgconductor.task_values(sources jsonb)
returns table (option text, value jsonb, source text)
language sql immutable
as $$
    -- Run time over configuration over code. Among programs the last by name, so that it does not depend on who started
    -- last; a client's word counts less, and that of a
    -- program that declares it no more least.
    select distinct on (o.key) o.key, o.value, s.key
    from jsonb_each(task_values.sources) s
    cross join lateral jsonb_each(s.value) o
    order by o.key, case when s.key = 'set' then 4 when s.key = 'config' then 3 when s.key = 'retired' then 0
        when s.key <> 'code:client' then 2 else 1 end desc,
        s.key collate "C" desc
$$;

comment on function pgconductor.task_values(jsonb) is
'Engine. Of what the sources say of a task (tasks.sources): the value of each option that counts, and whose it is.';
