create or replace function pgconductor.edit(id bigint, payload text default null, priority int default null,
    run_at timestamptz default null, metadata json default null)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    change pgconductor.change;
    why text;
begin
    if edit.priority not between -32768 and 32767 then
        raise exception using errcode = 'PC009',
            message = format('pgconductor.edit: priority: %s is not between -32768 and 32767', edit.priority);
    elsif num_nonnulls(edit.payload, edit.priority, edit.run_at, edit.metadata) = 0 then
        raise exception using errcode = 'PC009', message = 'pgconductor.edit: nothing to change',
            hint = 'Give at least one of payload, priority, run_at and metadata.';
    end if;
    if edit.payload is not null then
        perform pgconductor.check_size('pgconductor.edit', octet_length(edit.payload));
        begin
            change.payload := edit.payload::json;
        exception when others then
            get stacked diagnostics why = pg_exception_detail;
            perform pgconductor.refuse_json('pgconductor.edit', edit.payload, coalesce(nullif(why, ''), sqlerrm));
        end;
    end if;
    change.priority := edit.priority;
    change.run_at := case when edit.run_at is not null then pgconductor.due_time('pgconductor.edit', edit.run_at, null) end;
    change.metadata := edit.metadata;
    return pgconductor.put_change(edit.id, change);
end
$$;

comment on function pgconductor.edit(bigint, text, int, timestamptz, json) is
'Changes an unfinished execution that does not run: payload (JSON text), priority, when it runs, metadata; what is null stays as it is. One that is ready is changed by its node, unless it has just begun; then it runs as it was. False if there is no such execution, or if it is known to run. PC002 payload is not JSON, PC003 payload too large, PC005 bad time, PC009 bad priority, nothing to change, or a time for one that is suspended.';
