create or replace function pgconductor.make_call(execution bigint, xid xid8, name text, args json, draft bigint,
    again boolean)
returns json
language plpgsql volatile
as $$
declare
    -- Not "=", see settle_plain.
    inherited constant json := (select e.metadata from pgconductor.executions e
        where e.id between execution and execution and e.ready_xid is not distinct from xid);
    mark constant text := pgconductor.free_mark(concat(args, inherited));
    -- See invoke_items.
    plain constant json := pgconductor.hide_escapes(args::text, mark);
    extra text;
    target bigint;
    own json;
begin
    if not exists (
        select from pgconductor.executions e
        where e.id between execution and execution and e.ready_xid is not distinct from xid)
    then
        return null;
    elsif plain is null or json_typeof(plain) <> 'object' then
        raise exception using errcode = 'PC009', message = format('%s: not a JSON object', name);
    end if;

    if name = 'cancel' then
        select k into extra from json_object_keys(plain) k where k not in ('id', 'reason') limit 1;
        if extra is not null or coalesce(plain ->> 'id', '') !~ '^\d{1,18}$' then
            raise exception using errcode = 'PC009', message = 'cancel: id and reason are needed, id the id of an execution';
        end if;
        target := plain ->> 'id';
        -- It cannot be told any more by whom it was cancelled.
        return to_json(pgconductor.cancel(target, (args -> 'reason') #>> '{}') or again and exists (
            select from pgconductor.finished_executions f where f.id = target and f.state = 'cancelled'));
    elsif name = 'emit' then
        select k into extra from json_object_keys(plain) k where k not in ('event', 'payload') limit 1;
        if extra is not null then
            raise exception using errcode = 'PC009', message = 'emit: there are event and payload, and nothing else';
        end if;
        return to_json(pgconductor.emit_once(pgconductor.show_escapes(plain ->> 'event', mark),
            pgconductor.show_escapes((plain -> 'payload')::text, mark), inherited, draft, again)::text);
    elsif name in ('schedule', 'unschedule') then
        return pgconductor.call_schedule(name, plain, mark, again);
    elsif name <> 'invoke' then
        raise exception using errcode = 'PC009', message = format('%s: no such call', name);
    end if;

    -- It may have been made when the commit was not answered, and have finished since: history is kept of it in any case.
    if not again or not exists (select from pgconductor.executions e where e.id between draft and draft)
        and not exists (select from pgconductor.finished_executions f where f.id = draft)
    then
        own := pgconductor.merge_metadata(inherited, pgconductor.show_escapes((plain -> 'metadata')::text, mark)::json);
        target := (pgconductor.invoke_items(plain ->> 'task', format('[%s]', coalesce(pgconductor.show_escapes(
            (select json_object_agg(a.key, a.value) from (
                select a.key, a.value from json_each(plain) a where a.key not in ('task', 'metadata')
                union all
                select 'metadata', pgconductor.hide_escapes(own::text, mark)::json where own is not null) a)::text, mark), '{}'))::json,
            draft))[1];
        -- Not a null that says that the run is no more.
        return coalesce(to_json(target::text), 'null');
    end if;
    return to_json(draft::text);
end
$$;

comment on function pgconductor.make_call(bigint, xid8, text, json, bigint, boolean) is
'Engine, on the writer. Does what a handler asks for on behalf of its run, and returns the answer; null: the run is no more. name: invoke, with args as the items of invoke_batch and task, which makes the execution draft (see draw_ids), with the metadata of this one, and returns its id as a string, or another''s, or null, see invoke; cancel, with id and reason, which returns true or false; emit, with event and payload, which returns the event''s id as a string; or schedule and unschedule, see call_schedule. again: the same was sent before, and it is not known whether it was committed. PC009: no such call, or bad arguments; others as invoke.';
