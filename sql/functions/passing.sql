create or replace function pgconductor.passing(filter text, batch pgconductor.happened[], careful boolean,
    out held bigint[], out complaint text, out stuck boolean)
language plpgsql volatile
as $$
declare
    began timestamptz;
    yes int[];
    one pgconductor.happened;
begin
    held := '{}';
    stuck := false;
    if filter is null then
        held := array(select b.id from unnest(batch) b order by b.id);
        return;
    elsif not careful then
        select array_agg(batch[h].id order by h) into held
        from (
            select array_agg(e.key order by b.n) as keys, array_agg(e.payload::jsonb order by b.n) as payloads
            from unnest(batch) with ordinality as b(id, xid, key, at, n)
            join pgconductor.events e on e.id = b.id and e.created_at = b.at
        ) l
        cross join lateral unnest(pgconductor.evaluate_filter(filter, l.keys, l.payloads)) h;
        held := coalesce(held, '{}');
        return;
    end if;

    foreach one in array batch loop
        began := clock_timestamp();
        begin
            select pgconductor.evaluate_filter(filter, array[e.key], array[e.payload::jsonb]) into yes
            from pgconductor.events e where e.id = one.id and e.created_at = one.at;
            if yes <> '{}' then
                held := held || one.id;
            end if;
        exception
        when query_canceled then
            -- The time of the whole statement is over. If this took most of it, it is the cause.
            if clock_timestamp() < began + current_setting('statement_timeout')::interval / 2 then
                raise;
            end if;
            complaint := 'it takes too long';
            stuck := true;
            return;
        when others then
            complaint := sqlerrm;
        end;
    end loop;
end
$$;

comment on function pgconductor.passing(text, pgconductor.happened[], boolean) is
'Engine. For which of these events a condition holds: their ids; null holds for all. careful: one that raises does not hold for that event, and complaint is the last error; stuck: it did not come to an end, and there is no time for anything else now.';
