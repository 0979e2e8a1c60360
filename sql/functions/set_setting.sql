create or replace function pgconductor.set_setting(name text, value text)
returns void
language plpgsql volatile
as $$
begin
    if set_setting.name = 'max_payload' then
        if set_setting.value !~ '^\d{1,10}$' or set_setting.value::bigint not between 1024 and 1073741823 - 1048576 then
            raise exception using errcode = 'PC009',
                message = format('pgconductor.set_setting: max_payload: %s is not between 1024 and 1072693247 bytes',
                    set_setting.value);
        end if;
    elsif set_setting.name = 'poll_interval_ms' then
        if set_setting.value !~ '^\d{1,9}$' or set_setting.value::bigint < 1 then
            raise exception using errcode = 'PC009',
                message = format('pgconductor.set_setting: poll_interval_ms: %s is not a number of milliseconds',
                    set_setting.value);
        end if;
    elsif set_setting.name in ('keep_logs_ms', 'keep_events_ms', 'keep_triggers_ms') then
        if set_setting.value !~ '^\d{1,12}$' then
            raise exception using errcode = 'PC009',
                message = format('pgconductor.set_setting: %s: %s is not a number of milliseconds',
                    set_setting.name, set_setting.value);
        end if;
    else
        raise exception using errcode = 'PC009',
            message = format('pgconductor.set_setting: no setting is called %s', set_setting.name);
    end if;
    -- Written only when it changes: every node says it at every start.
    update pgconductor.settings s set value = set_setting.value
    where s.name = set_setting.name and s.value <> set_setting.value;
end
$$;

comment on function pgconductor.set_setting(text, text) is
'Engine. Stores what SQL must know of the configuration: max_payload (bytes, 1024 at least), poll_interval_ms, keep_logs_ms, keep_events_ms or keep_triggers_ms (milliseconds). PC009: unknown name or bad value.';
