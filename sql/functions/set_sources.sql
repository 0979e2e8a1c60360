create or replace function pgconductor.set_sources(old pgconductor.tasks, sources jsonb)
returns void
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    v constant jsonb := pgconductor.settings_said(set_sources.sources);
    b constant json := v -> 'backoff';
    k record;
    t pgconductor.tasks := old;
begin
    t.sources := set_sources.sources;
    t.queue := coalesce(v ->> 'queue', 'default');
    t.max_attempts := coalesce((v ->> 'max_attempts')::int, 3);
    t.timeout_ms := pgconductor.duration_ms((v -> 'timeout')::json);
    t.total_timeout_ms := pgconductor.duration_ms((v -> 'total_timeout')::json);
    t.keep_complete := case when v ? 'remove_on_complete' then pgconductor.keep_interval(v -> 'remove_on_complete')
        else interval '7 days' end;
    t.keep_fail := case when v ? 'remove_on_fail' then pgconductor.keep_interval(v -> 'remove_on_fail')
        else interval '30 days' end;
    t.backoff_factor := null;
    t.backoff_max_ms := null;
    case coalesce(json_typeof(b), 'none')
    when 'none' then
        t.backoff_ms := '{15000,30000,60000}';
    when 'array' then
        t.backoff_ms := array(select pgconductor.duration_ms(e.value) from json_array_elements(b) with ordinality e(value, n)
            order by e.n);
    when 'object' then
        t.backoff_ms := array[pgconductor.duration_ms(b -> 'initial')];
        t.backoff_factor := coalesce((b ->> 'factor')::float8, 2);
        t.backoff_max_ms := coalesce(pgconductor.duration_ms(b -> 'max'), 86400000);
    else
        t.backoff_ms := array[pgconductor.duration_ms(b)];
    end case;

    t.priority := coalesce((v ->> 'priority')::int, 0);
    t.batch_size := (v -> 'batch' ->> 'size')::int;
    t.batch_ms := case when v ? 'batch' then coalesce(pgconductor.duration_ms((v -> 'batch' -> 'timeout')::json), 1000) end;
    t.concurrency := (v ->> 'concurrency')::int;
    k := pgconductor.key_settings(v);
    t.rate_limit := (k.rate ->> 'limit')::int;
    t.rate_ms := case when t.rate_limit is not null
        then coalesce(pgconductor.duration_ms((k.rate -> 'period')::json), 1000) end;
    t.rate_burst := case when t.rate_limit is not null then coalesce((k.rate ->> 'burst')::int, t.rate_limit) end;
    t.key_path := string_to_array(k.path, '.');
    t.key_fifo := k.fifo;
    t.key_limit := k."limit";
    t.key_rate_limit := (k.key_rate ->> 'limit')::int;
    t.key_rate_ms := case when t.key_rate_limit is not null
        then coalesce(pgconductor.duration_ms((k.key_rate -> 'period')::json), 1000) end;
    t.key_rate_burst := case when t.key_rate_limit is not null then coalesce((k.key_rate ->> 'burst')::int, t.key_rate_limit) end;
    t.window_opens := (v -> 'window' ->> 0)::time;
    t.window_closes := (v -> 'window' ->> 1)::time;
    t.window_zone := case when t.window_opens is not null then coalesce(v ->> 'timezone', 'UTC') end;
    t.window_days := case when t.window_opens is not null and v ? 'days' then array(
        select array_position('{mon,tue,wed,thu,fri,sat,sun}'::text[], d) from jsonb_array_elements_text(v -> 'days') d) end;
    t.limited := num_nonnulls(t.concurrency, t.rate_limit, t.window_opens, t.key_path) > 0;
    -- So that nothing begins by the former key, either.
    if t.limited <> old.limited or t.key_path is distinct from old.key_path then
        t.limited_xid := pg_current_xact_id();
    end if;

    perform pgconductor.ensure_queue(t.queue);
    if t.limited then
        t.shard_ids := array[pgconductor.ensure_shard(t.queue, old.name)];
    else
        select q.shard_ids into t.shard_ids from pgconductor.queues q where q.name = t.queue;
    end if;
    t.owners := array(
        select s.owner from unnest(t.shard_ids) with ordinality u(id, n)
        join pgconductor.shards s on s.id = u.id order by u.n);
    update pgconductor.tasks x
    set queue = t.queue, max_attempts = t.max_attempts, backoff_ms = t.backoff_ms, backoff_factor = t.backoff_factor,
        backoff_max_ms = t.backoff_max_ms, timeout_ms = t.timeout_ms, total_timeout_ms = t.total_timeout_ms, keep_complete = t.keep_complete,
        keep_fail = t.keep_fail, sources = t.sources, shard_ids = t.shard_ids, owners = t.owners,
        batch_size = t.batch_size, batch_ms = t.batch_ms, concurrency = t.concurrency, rate_limit = t.rate_limit, rate_ms = t.rate_ms, rate_burst = t.rate_burst,
        window_opens = t.window_opens, window_closes = t.window_closes, window_days = t.window_days, window_zone = t.window_zone,
        key_path = t.key_path, key_fifo = t.key_fifo, key_limit = t.key_limit, key_rate_limit = t.key_rate_limit,
        key_rate_ms = t.key_rate_ms, key_rate_burst = t.key_rate_burst,
        limited = t.limited, limited_xid = t.limited_xid, priority = t.priority,
        retired_at = case when t.sources ? 'retired' then t.retired_at end
    where x.name = old.name;

    if old.sources = '{}' or row(old.queue, old.max_attempts, old.backoff_ms, old.backoff_factor, old.backoff_max_ms,
            old.timeout_ms, old.keep_complete, old.keep_fail, old.batch_size, old.batch_ms, old.concurrency, old.rate_limit, old.rate_ms, old.rate_burst,
            old.window_opens, old.window_closes, old.window_days, old.window_zone,
            old.key_path, old.key_fifo, old.key_limit, old.key_rate_limit, old.key_rate_ms, old.key_rate_burst)
        is distinct from row(t.queue, t.max_attempts, t.backoff_ms, t.backoff_factor, t.backoff_max_ms,
            t.timeout_ms, t.keep_complete, t.keep_fail, t.batch_size, t.batch_ms, t.concurrency, t.rate_limit, t.rate_ms, t.rate_burst,
            t.window_opens, t.window_closes, t.window_days, t.window_zone,
            t.key_path, t.key_fifo, t.key_limit, t.key_rate_limit, t.key_rate_ms, t.key_rate_burst)
    then
        -- What this task's history was looked through for is no longer what it must be looked through for.
        delete from pgconductor.expiries e
        where old.sources <> '{}' and (e.keep = t.keep_complete and t.keep_complete is distinct from old.keep_complete
            or e.keep = t.keep_fail and t.keep_fail is distinct from old.keep_fail);
        if current_setting('pgconductor.notify', true) is distinct from 'off' then
            perform pg_notify('pgconductor', 'tasks');
        end if;
    end if;
    -- What a program says of events counts while it has a task, see event_schemas.
    if exists (
        select from (
            select k from jsonb_object_keys(old.sources) k where not t.sources ? k
            union all
            select k from jsonb_object_keys(t.sources) k where not old.sources ? k
        ) c
        join pgconductor.event_types e on e.program = c.k) and current_setting('pgconductor.notify', true) is distinct from 'off'
    then
        perform pg_notify('pgconductor', 'events');
    end if;
end
$$;

comment on function pgconductor.set_sources(pgconductor.tasks, jsonb) is
'Engine. Stores what the sources say of a task, its settings in effect, and tells the nodes if these change, or whose events count.';
