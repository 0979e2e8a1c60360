create or replace function pgconductor.partition_statements(first date, last date)
returns setof text
language plpgsql stable
as $$
declare
    d date;
    part text;
    have oid;
begin
    for d in select g::date from generate_series(first::timestamp, last::timestamp, '1 day') g loop
        part := 'finished_' || to_char(d, 'YYYYMMDD');
        have := (select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = 'pgconductor' and c.relname = part);
        if have is null then
            return next format('create table if not exists pgconductor.%I (like pgconductor.finished_executions '
                'including defaults including storage including indexes)', part);
        end if;
        if have is null or not exists (select from pg_inherits i where i.inhrelid = have) then
            -- It is empty, so that attaching it reads nothing, and needs no constraint to be spared that.
            return next format('alter table pgconductor.finished_executions attach partition pgconductor.%I '
                'for values from (%L) to (%L)', part, to_char(d, 'YYYY-MM-DD') || ' 00:00:00+00',
                to_char(d + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
        end if;
    end loop;
end
$$;

comment on function pgconductor.partition_statements(date, date) is
'Engine. The statements that make the missing partitions of finished_executions for these UTC days. A partition is made by itself and then attached: made in place it would have to wait for every open reader, and everything else for it.';
