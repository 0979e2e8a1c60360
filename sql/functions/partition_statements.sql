create or replace function pgconductor.partition_statements(first date, last date)
returns setof text
language plpgsql stable
as $$
declare
    t record;
    part text;
    have oid;
begin
    for t in
        select p.parent, p.stem, g::date as day
        from pgconductor.partitioned() p cross join generate_series(first::timestamp, last::timestamp, '1 day') g
        order by p.parent, g
    loop
        part := t.stem || to_char(t.day, 'YYYYMMDD');
        have := (select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = 'pgconductor' and c.relname = part);
        if have is null then
            return next format('create table if not exists pgconductor.%I (like pgconductor.%I '
                'including defaults including storage including indexes)', part, t.parent);
        end if;
        if have is null or not exists (select from pg_inherits i where i.inhrelid = have) then
            -- It is empty, so that attaching it reads nothing, and needs no constraint to be spared that.
            return next format('alter table pgconductor.%I attach partition pgconductor.%I '
                'for values from (%L) to (%L)', t.parent, part, to_char(t.day, 'YYYY-MM-DD') || ' 00:00:00+00',
                to_char(t.day + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
        end if;
    end loop;
end
$$;

comment on function pgconductor.partition_statements(date, date) is
'Engine. The statements that make the missing partitions for these UTC days. A partition is made by itself and then attached: made in place it would have to wait for every open reader, and everything else for it.';
