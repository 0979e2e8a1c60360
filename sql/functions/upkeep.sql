create or replace function pgconductor.upkeep(force boolean default false)
returns setof text
language plpgsql volatile
as $$
declare
    today constant date := (pgconductor.now() at time zone 'UTC')::date;
    -- Null when some task keeps its history for ever.
    longest constant interval := (select case when count(*) = count(k.keep) then coalesce(max(k.keep), '30 days') end
        from pgconductor.tasks t cross join lateral (values (t.keep_complete), (t.keep_fail)) k(keep));
    keep_logs constant interval := (select s.value::bigint * interval '1 ms'
        from pgconductor.settings s where s.name = 'keep_logs_ms');
    keep_events constant interval := (select s.value::bigint * interval '1 ms'
        from pgconductor.settings s where s.name = 'keep_events_ms');
    mine constant boolean := exists (
        select from pg_locks l
        where l.locktype = 'advisory' and l.classid = 1346847492 and l.objsubid = 2 and l.granted
            and l.pid = pg_backend_pid());
    p record;
    filled boolean;
    undone boolean := false;
begin
    if not mine and not pg_try_advisory_lock(1346847492, 0) and not force then
        return;
    end if;

    return query select pgconductor.partition_statements(today - 1, today + 7);

    for p in
        select t.parent, c.relname as name, i.inhrelid is not null as attached,
            coalesce(i.inhdetachpending, false) as pending, to_date(right(c.relname, 8), 'YYYYMMDD') as day,
            case t.parent when 'logs' then keep_logs when 'events' then keep_events else longest end as keep
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        join pgconductor.partitioned() t on c.relname ~ ('^' || t.stem || '\d{8}$')
        left join pg_inherits i on i.inhrelid = c.oid
        where n.nspname = 'pgconductor' and c.relkind = 'r'
        order by c.relname
    loop
        if p.pending then
            return next format('alter table pgconductor.%I detach partition pgconductor.%I finalize', p.parent, p.name);
            return next format('drop table if exists pgconductor.%I', p.name);
        elsif p.day >= today - 1 then
            continue;
        elsif not p.attached then
            return next format('drop table if exists pgconductor.%I', p.name);
        else
            execute format('select exists (select from pgconductor.%I)', p.name) into filled;
            -- What nobody has dispatched yet is waited for, as the rest of an outcome would be.
            if filled and p.parent = 'events' then
                execute format('select exists (select from pgconductor.%I e, pgconductor.dispatched d where e.id > d.event_id)', p.name)
                into undone;
            end if;
            if undone then
                undone := false;
            elsif not filled or pgconductor.now() - p.keep >= (p.day + 1)::timestamp at time zone 'UTC' then
                return next format('alter table pgconductor.%I detach partition pgconductor.%I concurrently', p.parent, p.name);
                return next format('drop table if exists pgconductor.%I', p.name);
            end if;
        end if;
    end loop;

    return query
        select distinct format('select pgconductor.expire(%L, 10000)', k.keep)
        from pgconductor.tasks t cross join lateral (values (t.keep_complete), (t.keep_fail)) k(keep)
        where k.keep is not null;
    return next 'select pgconductor.sweep(10000)';
    return next 'select pgconductor.forget_keys(10000)';
    return next 'select pgconductor.tidy()';
    return next 'select pg_advisory_unlock(1346847492, 0)';
end
$$;

comment on function pgconductor.upkeep(boolean) is
'Engine. The statements that history and logs need now, to be run one by one, each outside a transaction, on the same connection, going on when one fails. One that returns a number above 0 should be run again, until it does not. None if another node is at it (unless force is true: a partition is missing).';
