create or replace function pgconductor.cancel(id bigint, reason text default null)
returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    error json := json_build_object('code', 'cancelled', 'message', coalesce(cancel.reason, 'cancelled'));
    level bigint[] := array[cancel.id];
    gone bigint[];
    found boolean := false;
begin
    if not exists (select from pgconductor.executions e where e.id = cancel.id) then
        return false;
    end if;
    -- Always a parent before its children: two that cancel parts of one tree meet at the top of the smaller part.
    while level <> '{}' loop
        select c.ended, c.children into gone, level
        from pgconductor.end_cancelled(level, array_fill(error, array[cardinality(level)]), true) c;
        found := found or gone <> '{}';
        error := json_build_object('code', 'cancelled', 'message', 'its parent was cancelled');
    end loop;
    return found;
end
$$;

comment on function pgconductor.cancel(bigint, text) is
'Cancels an unfinished execution with its unfinished children, and stops what of them is running. False if there is no unfinished one with this id.';
