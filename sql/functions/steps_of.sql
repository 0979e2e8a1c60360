create or replace function pgconductor.steps_of(ids bigint[], xids xid8[], after bigint[], max_bytes int)
returns table (id bigint, ready_xid xid8, pos bigint, key text, result json, error json, event text, more boolean)
language sql stable
as $$
    select e.id, e.ready_xid, p.pos, p.key, p.result, p.error, p.event, p.more
    from unnest(steps_of.ids, steps_of.xids, steps_of.after) with ordinality as r(id, xid, after, n)
    -- Not "=", see settle_plain.
    join pgconductor.executions e on e.id between r.id and r.id and e.ready_xid is not distinct from r.xid
    cross join lateral (
        select l.pos, l.key, l.result, l.error,
            -- A change has more in its key than a name, see change_key.
            case when l.error is null and strpos(l.event, E'\t') = 0 then l.event end as event, lead(l.pos) over w is not null as more, row_number() over w as nth,
            -- They are stored uncompressed, so their size is known without fetching them.
            sum(octet_length(l.key) + coalesce(pg_catalog.pg_column_size(l.result), 0)
                + coalesce(pg_catalog.pg_column_size(l.error), 0)) over w as bytes
        from (
            select s.pos, s.key, s.result, s.error, s.event
            from pgconductor.steps s
            where s.execution between r.id and r.id and s.pos > r.after and s.due_at is null
            order by s.pos
            limit 1001
        ) l
        window w as (order by l.pos)
    ) p
    where p.nth = 1 or p.nth <= 1000 and p.bytes <= steps_of.max_bytes
    order by r.n, p.pos
$$;

comment on function pgconductor.steps_of(bigint[], xid8[], bigint[], int) is
'Engine, on the reader. What runs have remembered, of each from behind the position after[i] on (0: all), in order: a thousand at most, and max_bytes at most unless the first one has more. more: others stand behind this one. result and error null: the result null. event: the name of the event that was waited for, and has come.';
