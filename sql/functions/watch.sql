create or replace function pgconductor.watch(changes json[])
returns table (pos int, locked boolean)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    present constant timestamptz := pgconductor.now();
    began constant timestamptz := clock_timestamp();
    c record;
    w pgconductor.watches;
    verdict text;
    made boolean := false;
begin
    for c in
        select min(u.n) as n, u.change, array_agg(u.n::int) as places
        from (select x.change::text as change, x.n from unnest(changes) with ordinality as x(change, n)) u
        -- So that none stands in the way of the others for ever.
        group by u.change order by random()
    loop
        w := pgconductor.read_change(c.change::json);
        -- Said as the run is suspended.
        continue when w.problem is not null;
        w := pgconductor.need_watch(w);
        -- It is kept for a while from now on.
        if w.unused_since < present - interval '10 s' then
            update pgconductor.watches x set unused_since = present where x.id = w.id and x.unused_since is not null;
        end if;
        continue when pgconductor.is_watched(w);
        verdict := case when made or clock_timestamp() > began + interval '1 s' then 'busy' else pgconductor.make_watch(w.id) end;
        made := made or verdict = 'made';
        if verdict in ('locked', 'busy') then
            return query select p, verdict = 'locked' from unnest(c.places) p;
        end if;
    end loop;
end
$$;

comment on function pgconductor.watch(json[]) is
'Engine. Has changes noted that are about to be waited for. Returns the positions of those for which it has to be asked again, as somebody has the table locked, or something else had to be done first. One that cannot be is none of these: suspend_runs says what is wrong with it.';
