create or replace function pgconductor.fire(tasks text[], names text[], present timestamptz)
returns int
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    made int;
    used int[];
begin
    with due as materialized (
        select s.task, s.name, s.payload, d.following,
            case when s.overlap = 'allow' then d.ticks
                when exists (select from pgconductor.executions e where e.id between s.last_execution and s.last_execution) then '{}'
                else d.ticks[cardinality(d.ticks):] end as ticks
        from unnest(fire.tasks, fire.names) as k(task, name)
        join pgconductor.schedules s on s.task = k.task collate "C" and s.name = k.name collate "C"
        cross join lateral pgconductor.ticks_due(s.times, s.timezone, s.next_at, fire.present, s.catchup) d
    ), put as (
        -- All of a schedule in one shard, so that they are read in order.
        insert into pgconductor.executions (created_at, run_at, shard, lane, priority, queue, task, payload, event, event_at, event_kind, expires_at, key)
        select fire.present, t.tick,
            h.shard_ids[1 + ('x' || left(md5(d.name), 7))::bit(28)::int % cardinality(h.shard_ids)], -h.priority, h.priority, h.queue, d.task, d.payload,
            d.name, t.tick, 's', fire.present + h.total_timeout_ms * interval '1 ms',
            pgconductor.key_of(d.payload, h.key_path)
        from due d
        join pgconductor.tasks h on h.name = d.task
        cross join lateral unnest(d.ticks) as t(tick)
        order by t.tick
        returning id, shard, lane, task, event, event_at
    ), lane as (
        insert into pgconductor.lanes (shard, lane)
        select distinct p.shard, p.lane from put p
        where p.lane <> 0 and not exists (select from pgconductor.lanes l where l.shard = p.shard and l.lane = p.lane)
    ), last as (
        select p.task, p.event, max(p.id) as id, max(p.event_at) as at from put p group by p.task, p.event
    ), done as (
        update pgconductor.schedules s
        set next_at = d.following, last_at = coalesce(l.at, s.last_at), last_execution = coalesce(l.id, s.last_execution)
        from due d left join last l on l.task = d.task and l.event = d.name
        where s.task = d.task and s.name = d.name
    )
    select count(*), array_agg(distinct p.shard) into made, used from put p;
    perform pgconductor.wake(used);
    return made;
end
$$;

comment on function pgconductor.fire(text[], text[], timestamptz) is
'Engine. Makes the executions of schedules that are due, and locked by the caller, and moves them on. Returns how many were made.';
