-- After the functions: rights, and the partitions of the next days. Run whenever the functions are.

do $$
declare
    statement text;
begin
    for statement in
        select pgconductor.partition_statements((now() at time zone 'UTC')::date - 1, (now() at time zone 'UTC')::date + 7)
    loop
        execute statement;
    end loop;
end
$$;

-- Roles belong to the whole server: it may be there already, or somebody may be making it at this moment.
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'pgconductor_client') then
        create role pgconductor_client nologin;
    end if;
exception
when insufficient_privilege then
    raise notice 'pgconductor: this role may not create roles: without the role pgconductor_client only the owner of the schema can use it'
        using hint = 'Let an administrator run: create role pgconductor_client nologin; then migrate again.';
when duplicate_object or unique_violation then
    null;
end
$$;

-- The role as which conditions of events are evaluated may do nothing at all, and owns the one function that does that.
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'pgconductor_filter') then
        create role pgconductor_filter nologin;
    end if;
exception
when insufficient_privilege then
    raise notice 'pgconductor: this role may not create roles: without the role pgconductor_filter events cannot have conditions'
        using hint = 'Let an administrator run: create role pgconductor_filter nologin; grant pgconductor_filter to the owner of the schema; then migrate again.';
when duplicate_object or unique_violation then
    null;
end
$$;
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'pgconductor_filter') then
        return;
    end if;
    if not pg_catalog.pg_has_role(current_user, 'pgconductor_filter', 'usage') then
        execute format('grant pgconductor_filter to %I', current_user);
    end if;
    -- To own a function takes this right for the moment.
    grant create on schema pgconductor to pgconductor_filter;
    alter function pgconductor.evaluate_filter(text, text[], jsonb[]) owner to pgconductor_filter;
    revoke create on schema pgconductor from pgconductor_filter;
exception when insufficient_privilege then
    raise notice 'pgconductor: this role may not be pgconductor_filter, so that events cannot have conditions'
        using hint = 'Let an administrator run: grant pgconductor_filter to the owner of the schema; then migrate again.';
end
$$;

-- The role as which the triggers on other people's tables note changes may do nothing else.
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'pgconductor_change') then
        create role pgconductor_change nologin;
    end if;
exception
when insufficient_privilege then
    raise notice 'pgconductor: this role may not create roles: without the role pgconductor_change changes of tables start nothing'
        using hint = 'Let an administrator run: create role pgconductor_change nologin; grant pgconductor_change to the owner of the schema; then migrate again.';
when duplicate_object or unique_violation then
    null;
end
$$;
do $$
begin
    if exists (select from pg_catalog.pg_roles where rolname = 'pgconductor_change')
        and not pg_catalog.pg_has_role(current_user, 'pgconductor_change', 'usage')
    then
        execute format('grant pgconductor_change to %I', current_user);
    end if;
exception when insufficient_privilege then
    raise notice 'pgconductor: this role may not be pgconductor_change, so that changes of tables start nothing'
        using hint = 'Let an administrator run: grant pgconductor_change to the owner of the schema; then migrate again.';
end
$$;

-- Functions may be executed by everybody unless that is revoked.
revoke all on schema pgconductor from public;
revoke all on all functions in schema pgconductor from public;
revoke all on all tables in schema pgconductor from public;

do $$
declare
    f regprocedure;
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'pgconductor_client') then
        return;
    end if;
    revoke all on all functions in schema pgconductor from pgconductor_client;
    revoke all on all tables in schema pgconductor from pgconductor_client;
    grant usage on schema pgconductor to pgconductor_client;
    grant select on pgconductor.executions_all to pgconductor_client;
    for f in
        select p.oid::regprocedure from pg_catalog.pg_proc p
        where p.pronamespace = 'pgconductor'::regnamespace
            and p.proname in ('invoke', 'invoke_batch', 'cancel', 'retry', 'result', 'declare_task', 'edit', 'move', 'discard', 'enable_task', 'enable_queue', 'has_metadata', 'error_kind', 'blocked_by',
                'execution_logs', 'execution_steps',
                'save_step', 'schedule', 'unschedule', 'enable_schedule', 'emit',
                'payload_schema', 'event_schemas')
    loop
        execute format('grant execute on function %s to pgconductor_client', f);
    end loop;
end
$$;

do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'pgconductor_change') then
        return;
    end if;
    grant usage on schema pgconductor to pgconductor_change;
    grant usage on sequence pgconductor.events_seq to pgconductor_change;
    grant insert (created_at, key, payload) on pgconductor.events to pgconductor_change;
    grant select (node) on pgconductor.dispatcher to pgconductor_change;
    grant execute on function pgconductor.now(), pgconductor.awake(int), pgconductor.notify_owner(int),
        pgconductor.ensure_partition(timestamptz), pgconductor.fit_change(json, text, text),
        pgconductor.select_columns(json, text[]) to pgconductor_change;
end
$$;
