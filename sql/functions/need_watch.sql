create or replace function pgconductor.need_watch(w pgconductor.watches)
returns pgconductor.watches
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    have pgconductor.watches;
begin
    loop
        select x.* into have from pgconductor.watches x where x.what = w.what for key share;
        if found then
            return have;
        end if;
        insert into pgconductor.watches (schema, "table", operation, columns, "when", what, unused_since)
        values (w.schema, w."table", w.operation, w.columns, w."when", w.what, pgconductor.now())
        on conflict do nothing;
    end loop;
end
$$;

comment on function pgconductor.need_watch(pgconductor.watches) is
'Engine. The same as it stands in the table, put there if it does not; it is not dropped before this transaction ends. Its trigger may still have to be made.';
