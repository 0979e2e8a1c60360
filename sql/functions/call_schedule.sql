create or replace function pgconductor.call_schedule(name text, args json, mark text, again boolean)
returns json
language plpgsql volatile
as $$
declare
    known constant text[] := case name when 'schedule'
        then '{task,name,cron,payload,timezone,enabled,overlap,catchup}'::text[] else '{task,name}' end;
    extra text;
    due timestamptz;
begin
    select k into extra from json_object_keys(args) k where not k = any (known) limit 1;
    if extra is not null then
        raise exception using errcode = 'PC009', message = format('%s: %s: not known; there are %s', name, extra,
            array_to_string(known, ', '));
    elsif name = 'unschedule' then
        return to_json(pgconductor.unschedule(args ->> 'task', args ->> 'name') or again);
    elsif json_typeof(args -> 'enabled') not in ('boolean', 'null') then
        raise exception using errcode = 'PC009', message = 'schedule: enabled: neither true nor false';
    end if;
    due := pgconductor.put_schedule('schedule', null, args ->> 'task', args ->> 'name', args ->> 'cron',
        pgconductor.show_escapes((args -> 'payload')::text, mark)::json, args ->> 'timezone',
        coalesce((args ->> 'enabled')::boolean, true), args ->> 'overlap', args ->> 'catchup');
    return to_json(to_char(nullif(due, 'infinity') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));
end
$$;

comment on function pgconductor.call_schedule(text, json, text, boolean) is
'Engine. Those of make_call that are about schedules: schedule, with the arguments of the function as an object, which returns the time of the next tick, and unschedule, which returns true or false. args: without escapes, see hide_escapes; mark: theirs. again: it may have been done already.';
