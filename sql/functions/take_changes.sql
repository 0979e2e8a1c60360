create or replace function pgconductor.take_changes(shards int[], xids xid8[], ids bigint[], runs xid8[], busy boolean[])
returns table (pos int, gone boolean, again boolean)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    c record;
    e record;
    home int;
begin
    for c in
        select r.pos, r.run, r.busy, w.shard, w.xid, w.id, w.execution, w.change
        from unnest(take_changes.shards, take_changes.xids, take_changes.ids, take_changes.runs, take_changes.busy)
            with ordinality as r(shard, xid, id, run, busy, pos)
        -- See take_wakes.
        join pgconductor.wakes w on w.shard = any (array[r.shard]) and w.xid = any (array[r.xid]) and w.id = any (array[r.id])
        order by r.pos
    loop
        pos := c.pos;
        again := false;
        gone := true;
        select x.shard, x.ready_xid into e from pgconductor.executions x
        where x.id between c.execution and c.execution for update skip locked;
        if not found then
            select x.shard into home from pgconductor.executions x where x.id between c.execution and c.execution;
            again := found;
            gone := not found;
        elsif e.shard <> c.shard then
            -- It was moved after it had been looked up.
            insert into pgconductor.wakes (execution, shard, change)
            select c.execution, h.id, c.change from pgconductor.shards h where h.id = e.shard and pgconductor.awake(h.owner);
        elsif e.ready_xid is null or e.ready_xid = pg_current_xact_id() or e.ready_xid = c.run and not c.busy then
            perform pgconductor.apply_change(c.execution, c.change);
        elsif e.ready_xid = c.run then
            -- It has begun: too late.
            gone := false;
        else
            again := true;
        end if;
        if not again then
            delete from pgconductor.wakes w
            where w.shard = any (array[c.shard]) and w.xid = any (array[c.xid]) and w.id = any (array[c.id]);
        end if;
        return next;
    end loop;
end
$$;

comment on function pgconductor.take_changes(int[], xid8[], bigint[], xid8[], boolean[]) is
'Engine, on the writer. Does what wakes of this session''s shards say that have a change. runs: the ready_xid under which the execution was found, null if it was not ready; busy: that run was handed out, and stays as it is; of the others this session makes sure that they are not. A row for each wake that was there. gone: that run is no more. again: not done, as others have it locked, or it is another run by now.';
