create or replace function pgconductor.rehome_to(ids bigint[], xids xid8[], shard int)
returns table (id bigint, old_xid xid8, new_xid xid8, locked boolean)
language sql volatile
as $$
    select m.id, m.old_xid, m.new_xid, m.new_xid is null
    from pgconductor.move_runs(rehome_to.ids, rehome_to.xids,
        array_fill(rehome_to.shard, array[cardinality(rehome_to.ids)])) m
$$;

comment on function pgconductor.rehome_to(bigint[], xid8[], int) is
'Engine, on the writer. Moves runs to another shard of the same owner, with what is noted of them as running: before their own shard is given up. A row for each that is still there; locked: another session has it locked, it was not done.';
