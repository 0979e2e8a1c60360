create or replace function pgconductor.keep_watches(out next_ms int, out complaints text)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    present constant timestamptz := pgconductor.now();
    began constant timestamptz := clock_timestamp();
    keep constant interval := (select s.value::bigint * interval '1 ms' from pgconductor.settings s where s.name = 'keep_triggers_ms');
    patience constant text := current_setting('lock_timeout');
    w pgconductor.watches;
    verdict text;
    why text;
    fresh text[] := '{}';
begin
    complaints := '';
    if not exists (select from pgconductor.watches) then
        return;
    end if;
    update pgconductor.watches x set unused_since = case when not u.wanted then present end
    from (select y.id, pgconductor.is_wanted(y) as wanted from pgconductor.watches y) u
    where u.id = x.id and (x.unused_since is null) <> u.wanted;

    for w in
        select x.* from pgconductor.watches x
        where x.unused_since is null and not pgconductor.is_watched(x)
            and coalesce(x.tried_at <= present - case when x.problem is null then interval '1 s' else interval '10 s' end, true)
        order by x.tried_at nulls first, x.id
    loop
        verdict := pgconductor.make_watch(w.id);
        next_ms := case verdict when 'made' then 0 when 'locked' then 1000 when 'busy' then 1000 else next_ms end;
        exit when verdict = 'made';
        select x.problem into why from pgconductor.watches x where x.id = w.id;
        why := case when verdict = 'bad' and why is distinct from w.problem then why
            when verdict = 'locked' and w.tried_at is null then format('table %I.%I is locked by somebody; it is tried again', w.schema, w."table") end;
        if why is not null then
            fresh := fresh || format('%s: %s', coalesce((
                    select 'task ' || string_agg(distinct s.task, ', ' order by s.task) from pgconductor.subscriptions s
                    where s.key = pgconductor.change_key(w)), 'somebody')
                || format(' waits for %s of %I.%I', w.operation, w.schema, w."table"), why);
        end if;
        exit when clock_timestamp() > began + interval '1 s';
    end loop;
    complaints := array_to_string(fresh, E'\n');
    if next_ms is null and exists (select from pgconductor.watches x where x.unused_since is null and x.problem is not null) then
        next_ms := 10000;
    end if;

    -- Their functions are to know of new partitions; nobody is kept waiting by that.
    if exists (select from pgconductor.watches x where x.covered < present + interval '4 days') then
        for w in select x.* from pgconductor.watches x where x.covered < pgconductor.covered_until() for no key update skip locked loop
            w.covered := pgconductor.covered_until();
            execute pgconductor.change_function(w);
            update pgconductor.watches x set covered = w.covered where x.id = w.id;
        end loop;
    end if;

    -- Nobody needs it, and nobody begins to while it is locked.
    if verdict = 'made' then
        return;
    end if;
    for w in
        select x.* from pgconductor.watches x where x.unused_since <= present - keep
        order by x.unused_since limit 1
        for update skip locked
    loop
        continue when (select pgconductor.is_wanted(x) from pgconductor.watches x where x.id = w.id);
        begin
            perform set_config('lock_timeout', '200ms', true);
            execute format('drop function if exists pgconductor.%I() cascade', 'change_' || w.id);
            delete from pgconductor.watches x where x.id = w.id;
            next_ms := 0;
        exception when lock_not_available or deadlock_detected then
            next_ms := coalesce(next_ms, 1000);
        end;
        perform set_config('lock_timeout', patience, true);
    end loop;
end
$$;

comment on function pgconductor.keep_watches() is
'Engine. Makes the next trigger that a task or a wait needs, or drops one that nobody has needed for a while. next_ms: when to call it again, in milliseconds; null: now and then. complaints: lines, of what was not known before.';
