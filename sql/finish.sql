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

-- Clients have rights by pgconductor_client. Conditions of events are evaluated as pgconductor_filter, which may do nothing at
-- all and owns the one function that does that. The triggers on other people's tables note changes as pgconductor_change, which
-- may do nothing else. without: what is not possible as long as there is no such role; for those that the owner of the schema
-- has to be a member of (member), as long as it is none.
-- Roles belong to the whole server: one may be there already, or somebody may be making it at this moment.
do $$
declare
    r record;
begin
    for r in
        select * from (values
            ('pgconductor_client', false, 'only the owner of the schema can use it', null),
            ('pgconductor_filter', true, 'events cannot have conditions', 'pgconductor.evaluate_filter(text, text[], jsonb[])'),
            ('pgconductor_change', true, 'changes of tables start nothing', null)
        ) as v(name, member, without, owns)
    loop
        begin
            if not exists (select from pg_catalog.pg_roles where rolname = r.name) then
                execute format('create role %I nologin', r.name);
            end if;
        exception
        when insufficient_privilege then
            raise notice 'pgconductor: this role may not create roles: without the role % %', r.name, r.without
                using hint = format('Let an administrator run: create role %s nologin;%s then migrate again.', r.name,
                    case when r.member then format(' grant %s to the owner of the schema;', r.name) end);
        when duplicate_object or unique_violation then
            null;
        end;
        continue when not r.member or not exists (select from pg_catalog.pg_roles where rolname = r.name);
        begin
            if not pg_catalog.pg_has_role(current_user, r.name, 'usage') then
                execute format('grant %I to %I', r.name, current_user);
            end if;
            if r.owns is not null then
                -- To own a function takes this right for the moment.
                execute format('grant create on schema pgconductor to %I', r.name);
                execute format('alter function %s owner to %I', r.owns, r.name);
                execute format('revoke create on schema pgconductor from %I', r.name);
            end if;
        exception when insufficient_privilege then
            raise notice 'pgconductor: this role may not be %, so that %', r.name, r.without
                using hint = format('Let an administrator run: grant %s to the owner of the schema; then migrate again.', r.name);
        end;
    end loop;
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
            and p.proname in ('invoke', 'invoke_batch', 'cancel', 'retry', 'result', 'declare_task', 'set_options', 'edit', 'move', 'discard', 'enable_task', 'enable_queue', 'has_metadata', 'error_kind', 'blocked_by', 'delayed', 'now', 'execution_key',
                'execution_logs', 'execution_steps',
                'save_step', 'schedule', 'unschedule', 'enable_schedule', 'emit',
                'payload_schema', 'event_schemas', 'generate_types', 'generate_tasks')
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
