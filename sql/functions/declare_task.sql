create or replace function pgconductor.declare_task(name text, queue text default null, options json default '{}',
    source text default 'code:client')
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    said jsonb;
    old pgconductor.tasks;
    all_sources jsonb;
    why text;
begin
    if declare_task.name is null or declare_task.name !~ '^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$' then
        raise exception using errcode = 'PC008',
            message = format('pgconductor.declare_task: name: %L is not a task''s name', declare_task.name),
            hint = 'Letters, digits and _ . : - (not first: . : -), 128 characters at most.';
    end if;
    if declare_task.source is null or declare_task.source !~ '^(config|set|code:.{1,128})$' then
        raise exception using errcode = 'PC009',
            message = format('pgconductor.declare_task: source: %L is none of config, set and code:PROGRAM', declare_task.source);
    end if;
    if declare_task.queue !~ '^[a-z0-9_][a-z0-9_.-]{0,62}$' then
        raise exception using errcode = 'PC004',
            message = format('pgconductor.declare_task: queue: %L is not a queue''s name', declare_task.queue),
            hint = 'Lower-case letters, digits and _ . - (not first: . -), 63 characters at most.';
    end if;
    said := pgconductor.check_options('pgconductor.declare_task', declare_task.options);
    if declare_task.queue is not null then
        said := said || jsonb_build_object('queue', declare_task.queue);
    end if;

    -- Programs declare their tasks at every start. When that says nothing new it takes no lock.
    if exists (select from pgconductor.tasks t where t.name = declare_task.name and t.sources -> declare_task.source = said) then
        return;
    end if;

    insert into pgconductor.tasks (name, queue, max_attempts, backoff_ms, keep_complete, keep_fail, sources, declared_at)
    values (declare_task.name, 'default', 3, '{15000,30000,60000}', '7 days', '30 days', '{}', pgconductor.now())
    on conflict do nothing;
    select t.* into old from pgconductor.tasks t where t.name = declare_task.name for update;
    -- What is set does not bring a retired one back.
    all_sources := case when declare_task.source = 'set' then old.sources else old.sources - 'retired' end
        || jsonb_build_object(declare_task.source, said);
    why := (pgconductor.key_settings(pgconductor.settings_said(all_sources))).fault;
    if why is not null then
        raise exception using errcode = 'PC009', message = format('pgconductor.declare_task: options: %s', why),
            hint = format('`pgconductor tasks %s --json` says which options it has, and where these come from.', declare_task.name);
    end if;
    perform pgconductor.set_sources(old, all_sources);
end
$$;

comment on function pgconductor.declare_task(text, text, json, text) is
'Declares a task, so that it can be invoked, or changes what a source says of it. queue: its home queue (null: not said; default if nobody says). options: max_attempts; backoff: a duration, a list of them, or {"initial", "factor", "max"}; timeout, of an attempt; total_timeout, of all attempts and what is waited for between them; batch: {"size", "timeout"}, how many are handed out at once at most, if its program takes several, and how long the first waits for others (1s); concurrency: how many may run at once, on all nodes together; rate_limit: {"limit", "period", "burst"}, how many may begin in a period (1s), and at once (limit), or a list of that and one with a key; concurrency_key: where in the payload a key stands ("customer.id"), or {"key", "limit"}, how many of one key may run at once; fifo_key: likewise, one of a key at a time, in order; they are for each queue that it is invoked in; priority: of what is invoked without one; remove_on_complete and remove_on_fail: a duration, 0 for at once, false for never. Durations: "250ms", "10s", "5m", "2h", "7d". source: code:PROGRAM, config or set; the later one of these counts. PC004 bad queue name, PC006 option not available, PC008 bad name or option, PC009 bad source, or options that do not go together.';
