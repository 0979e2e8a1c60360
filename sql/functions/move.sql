create or replace function pgconductor.move(id bigint, queue text)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    change pgconductor.change;
begin
    if move.queue is null or move.queue !~ '^[a-z0-9_][a-z0-9_.-]{0,62}$' then
        raise exception using errcode = 'PC004',
            message = format('pgconductor.move: queue: %L is not a queue''s name', move.queue),
            hint = 'Lower-case letters, digits and _ . - (not first: . -), 63 characters at most.';
    end if;
    -- A queue may be used before a node serves it.
    perform pgconductor.ensure_queue(move.queue);
    change.queue := move.queue;
    return pgconductor.put_change(move.id, change);
end
$$;

comment on function pgconductor.move(bigint, text) is
'Moves an unfinished execution that does not run to another queue. One that is ready is moved by its node, unless it has just begun. False if there is no such execution, or if it is known to run. PC004 bad queue name.';
