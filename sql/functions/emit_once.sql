create or replace function pgconductor.emit_once(event text, payload text, metadata json, draft bigint, again boolean)
returns bigint
language plpgsql volatile
as $$
declare
    present constant timestamptz := pgconductor.now();
    body constant json := pgconductor.check_event('emit', event, payload);
    made bigint;
begin
    -- The same may still be going on in a session whose connection was lost: then this waits for its end.
    perform pg_advisory_xact_lock(1346847494, draft::bit(32)::int);
    if again then
        select e.id into made from pgconductor.events e where e.draft = emit_once.draft;
    end if;
    if made is null then
        perform pgconductor.ensure_partition(present);
        insert into pgconductor.events (created_at, draft, key, payload, metadata)
        select present, emit_once.draft, event, body, emit_once.metadata
        from pgconductor.dispatcher d
        where pgconductor.awake(d.node)
        returning id into made;
    end if;
    return made;
end
$$;

comment on function pgconductor.emit_once(text, text, json, bigint, boolean) is
'Engine. As emit, for a handler. draft: an id (see draw_ids) of its own, under which it is found again; again: the same was sent before, and it is not known whether it was committed.';
