create or replace function pgconductor.setup_session(role text, timeout_ms int)
returns void
language plpgsql volatile
as $$
declare
    version constant int := pg_catalog.current_setting('server_version_num')::int;
    s record;
begin
    if role not in ('writer', 'reader', 'listener', 'sleeper', 'control', 'upkeep') or timeout_ms is null or timeout_ms < 100 then
        raise exception using errcode = 'PC009',
            message = 'pgconductor.setup_session: no such role, or timeout_ms below 100';
    end if;
    for s in
        select v.name, v.value from (values
            ('application_name', 'pgconductor ' || role, true),
            ('client_encoding', 'UTF8', true),
            ('search_path', 'pg_catalog, pg_temp', true),
            ('DateStyle', 'ISO, YMD', true),
            ('IntervalStyle', 'postgres', true),
            ('TimeZone', 'UTC', true),
            ('client_min_messages', 'warning', true),
            ('default_transaction_isolation', 'read committed', true),
            ('default_transaction_read_only', 'off', true),
            ('tcp_keepalives_idle', greatest(1, timeout_ms / 2000)::text, true),
            ('tcp_keepalives_interval', greatest(1, timeout_ms / 6000)::text, true),
            ('tcp_keepalives_count', '3', true),
            ('tcp_user_timeout', timeout_ms::text, true),
            -- A stopped master must not keep its locks: whatever its writer waits in, it ends.
            ('idle_session_timeout', case role when 'writer' then timeout_ms else 0 end::text, true),
            ('idle_in_transaction_session_timeout', timeout_ms::text, true),
            -- Some thousand tasks that are declared for the first time take a while.
            ('statement_timeout', case when role in ('listener', 'sleeper') then 0 when role = 'control' then greatest(timeout_ms, 60000)
                else timeout_ms end::text, true),
            ('transaction_timeout', case when role in ('writer', 'reader') then timeout_ms else 0 end::text,
                version >= 170000),
            -- Only the sleeper's purpose is to wait for a lock.
            ('lock_timeout', case role when 'writer' then 150 when 'sleeper' then 0 else timeout_ms end::text, true),
            -- Plans are pinned: the only good one is a walk along an index, on an empty table as on a large one.
            ('plan_cache_mode', 'force_generic_plan', role in ('writer', 'reader')),
            ('enable_seqscan', 'off', role in ('writer', 'reader')),
            ('enable_bitmapscan', 'off', role in ('writer', 'reader')),
            ('enable_hashjoin', 'off', role in ('writer', 'reader')),
            ('enable_mergejoin', 'off', role in ('writer', 'reader')),
            ('enable_material', 'off', role in ('writer', 'reader')),
            ('enable_memoize', 'off', role in ('writer', 'reader')),
            ('max_parallel_workers_per_gather', '0', role in ('writer', 'reader')),
            ('jit', 'off', true)
        ) as v(name, value, wanted)
        where v.wanted
    loop
        perform pg_catalog.set_config(s.name, s.value, false);
    end loop;

    -- A backend that waits for a lock does not notice that its client is gone. Not every platform can look.
    begin
        perform pg_catalog.set_config('client_connection_check_interval', greatest(500, timeout_ms / 4)::text, false);
    exception when invalid_parameter_value then
        null;
    end;
end
$$;

comment on function pgconductor.setup_session(text, int) is
'Engine. Gives a session of a master all its settings. role: writer, reader, listener, sleeper, control or upkeep. timeout_ms: takeover timeout in milliseconds; the session of a master that stopped ends after it. PC009: unknown role, timeout below 100.';
