create or replace function pgconductor.filter_fault(filter text)
returns text
language plpgsql volatile
as $$
declare
    bare text;
    fault text;
begin
    if filter is null then
        return null;
    end if;
    select f.fault, f.bare into fault, bare from pgconductor.fragment_fault(filter) f;
    if fault is not null then
        return fault;
    elsif bare ~* '\m(select|table|values|with)\M' then
        return 'it has a query in it';
    end if;

    begin
        perform pgconductor.evaluate_filter(filter, '{}', '{}');
    exception when others then
        return sqlerrm;
    end;
    return null;
end
$$;

comment on function pgconductor.filter_fault(text) is
'Engine. What is wrong with a condition of events: an SQL expression over event (its key, text) and payload (jsonb); null: nothing.';
