create or replace function pgconductor.schedule(task text, name text, cron text, payload text default 'null',
    timezone text default 'UTC', enabled boolean default true, overlap text default 'allow', catchup text default 'skip')
returns timestamptz
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    body json;
    why text;
begin
    perform pgconductor.check_size('pgconductor.schedule', octet_length(schedule.payload));
    begin
        body := schedule.payload::json;
    exception when others then
        get stacked diagnostics why = pg_exception_detail;
        perform pgconductor.refuse_json('pgconductor.schedule', schedule.payload, coalesce(nullif(why, ''), sqlerrm));
    end;
    return pgconductor.put_schedule('pgconductor.schedule', null, task, name, cron, body, timezone, coalesce(enabled, true),
        overlap, catchup);
end
$$;

comment on function pgconductor.schedule(text, text, text, text, text, boolean, text, text) is
'Has a task executed again and again, and returns when for the first time. name: of the schedule, its executions'' event (null: the expression); one of the same task and name is replaced. cron: "30 9 * * mon-fri": minute, hour, day of month, month, day of week; with six fields the first is seconds; or @daily and the like. payload: JSON text. timezone: by its name, as Europe/Berlin. enabled: false for one that is paused. overlap: allow, or skip: no execution while the former one is unfinished. catchup: what is made up for when nothing ran for more than a minute: skip (nothing), last, all, or a number: the last so many. PC001 task never declared, PC002 payload is not JSON, PC003 payload too large, PC012 bad expression, time zone or option.';
