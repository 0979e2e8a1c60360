create or replace function pgconductor.emit(event text, payload text default 'null', metadata json default null)
returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    present constant timestamptz := pgconductor.now();
    body constant json := pgconductor.check_event('pgconductor.emit', event, payload);
    made bigint;
begin
    -- A producer may be there for weeks without any node, which would make it.
    if to_regclass('pgconductor.events_' || to_char(present at time zone 'UTC', 'YYYYMMDD')) is null then
        perform pgconductor.ensure_partition(present);
    end if;
    insert into pgconductor.events (created_at, key, payload, metadata)
    select present, emit.event, body, emit.metadata
    from pgconductor.dispatcher d
    where pgconductor.awake(d.node)
    returning id into made;
    return made;
end
$$;

comment on function pgconductor.emit(text, text, json) is
'Says that something has happened, as part of the caller''s transaction: starts the tasks that subscribe to this event, and resumes what waits for it. payload: JSON text. metadata: of the executions that it starts. Returns the event''s id. PC002 payload is not JSON, PC003 payload too large, PC013 bad event name.';
