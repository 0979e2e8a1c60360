-- The function belongs to the role pgconductor_change, which may append to the log of events and nothing else: what stands in
-- a row is turned to JSON with its rights. The trigger goes with its function, and so needs no right on the table to be dropped.
create or replace function pgconductor.make_watch(id bigint)
returns text
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    patience constant text := current_setting('lock_timeout');
    path constant text := current_setting('search_path');
    w pgconductor.watches;
    kind "char";
    verdict text := 'made';
    why text;
begin
    if not pg_try_advisory_xact_lock(1346847495, 0) then
        return 'busy';
    end if;
    select x.* into w from pgconductor.watches x where x.id = make_watch.id for no key update;
    if not found or pgconductor.is_watched(w) then
        return 'there';
    end if;

    select c.relkind into kind from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = w.schema and c.relname = w."table";
    why := case
        when not exists (select from pg_roles r where r.rolname = 'pgconductor_change' and pg_has_role(r.oid, 'usage'))
            then 'changes are noted as the role pgconductor_change, which could not be made here; let an administrator run: '
                'create role pgconductor_change nologin; grant pgconductor_change to the owner of the schema; then migrate again'
        when kind is null then format('there is no table %I.%I', w.schema, w."table")
        when kind not in ('r', 'p', 'f') then format('%I.%I is not a table', w.schema, w."table")
        when w.schema = 'pgconductor' then format('%I.%I is a table of pgconductor itself', w.schema, w."table")
        else (
            select format('table %I.%I has no column %s', w.schema, w."table", string_agg(quote_ident(c), ', ' order by n))
            from unnest(w.columns) with ordinality as u(c, n)
            where not exists (
                select from pg_attribute a
                where a.attrelid = format('%I.%I', w.schema, w."table")::regclass and a.attname = u.c and a.attnum > 0 and not a.attisdropped)
            having count(*) > 0) end;
    if why is null then
        begin
            -- Who writes to that table waits behind this.
            perform set_config('lock_timeout', '200ms', true);
            execute format('drop function if exists pgconductor.%I() cascade', 'change_' || w.id);
            w.covered := pgconductor.covered_until();
            execute pgconductor.change_function(w);
            execute format('revoke all on function pgconductor.%I() from public', 'change_' || w.id);
            -- In its condition, names are those that somebody who works with the table would write.
            perform set_config('search_path', format('%I, public', w.schema), true);
            execute format(E'create trigger %I after %s on %I.%I for each row %s execute function pgconductor.%I()', 'pgconductor_' || w.id,
                w.operation, w.schema, w."table", 'when (' || w."when" || E'\n)', 'change_' || w.id);
            perform set_config('search_path', path, true);
            -- To own a function takes this right for the moment.
            grant create on schema pgconductor to pgconductor_change;
            execute format('alter function pgconductor.%I() owner to pgconductor_change', 'change_' || w.id);
            revoke create on schema pgconductor from pgconductor_change;
        exception
        when lock_not_available or deadlock_detected then
            verdict := 'locked';
        when others then
            why := format('table %I.%I: %s%s', w.schema, w."table",
                case when w."when" is not null and sqlstate ~ '^(42|0A)' and sqlstate <> '42501' then 'when: ' end, sqlerrm);
        end;
        perform set_config('lock_timeout', patience, true);
    end if;
    update pgconductor.watches x set problem = why, tried_at = pgconductor.now(), covered = w.covered where x.id = make_watch.id;
    return case when why is not null then 'bad' else verdict end;
end
$$;

comment on function pgconductor.make_watch(bigint) is
'Engine. Makes the trigger of a watch, which waits for whoever is writing to the table, and others wait behind it: not for longer than 200 ms, and one at a time in a transaction. Returns made, there (it was already), locked (by somebody) or busy (with another one: to be tried again), or bad: its problem says why there can be none.';
