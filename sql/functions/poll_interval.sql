create or replace function pgconductor.poll_interval()
returns interval
language sql stable
as $$
    select s.value::int * interval '1 ms' from pgconductor.settings s where s.name = 'poll_interval_ms'
$$;

comment on function pgconductor.poll_interval() is 'Engine. How long a sleeping node may go without looking.';
