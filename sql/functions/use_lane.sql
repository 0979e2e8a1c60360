create or replace function pgconductor.use_lane(what text, shard int, priority int)
returns void
language plpgsql volatile
as $$
begin
    if use_lane.priority not between -32768 and 32767 then
        raise exception using errcode = 'PC009',
            message = format('%s: priority: %s is not between -32768 and 32767', what, use_lane.priority);
    end if;
    insert into pgconductor.lanes (shard, lane)
    select use_lane.shard, -use_lane.priority
    where not exists (
        select from pgconductor.lanes l where l.shard = use_lane.shard and l.lane = -use_lane.priority);
end
$$;

comment on function pgconductor.use_lane(text, int, int) is
'Engine. Makes a shard''s reader look at the lane of a priority. PC009: bad priority.';
