create or replace function pgconductor.task_options()
returns table (task text, option text, value jsonb, source text)
language sql stable
as $$
    select t.name, d.option, coalesce(v.value, d.value), coalesce(v.source, 'default')
    from pgconductor.tasks t
    cross join (values
        ('queue', '"default"'::jsonb), ('max_attempts', '3'), ('backoff', '["15s", "30s", "60s"]'), ('timeout', 'null'),
        ('total_timeout', 'null'), ('batch', 'null'), ('concurrency', 'null'), ('rate_limit', 'null'), ('concurrency_key', 'null'), ('fifo_key', 'null'), ('window', 'null'), ('timezone', 'null'), ('days', 'null'), ('priority', '0'),
        ('remove_on_complete', '"7d"'), ('remove_on_fail', '"30d"')) as d(option, value)
    left join lateral pgconductor.task_values(t.sources) v on v.option = d.option
    order by t.name, d.option
$$;

comment on function pgconductor.task_options() is
'Engine. Every option of every task, with its value and where that comes from: set, config, code:PROGRAM or default.';
