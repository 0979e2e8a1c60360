create or replace function pgconductor.claim_items(what text, task text, items json, mark text, ids bigint[],
    awaited boolean)
returns bigint[]
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    claims pgconductor.claim[];
    -- By the items' positions. groups: the claim that it belongs to, 0 for none. alone: of a group only one gets an answer.
    groups int[];
    leads boolean[];
    alone boolean[];
    largest int;
    held bigint[];
begin
    -- Items with the same key are as one: of a burst the last counts, otherwise the first.
    with given as (
        select r.pos, r.max_wait, coalesce(r.priority, t.priority) as priority, coalesce(r.throttle, r.debounce, r.dedupe_for) as span,
            case when r.throttle is not null then 'throttle' when r.debounce is not null then 'debounce'
                when num_nonnulls(r.dedupe_key, r.dedupe_for) > 0 then 'dedupe' end as kind,
            coalesce(r.queue, t.queue) as queue,
            coalesce(pgconductor.plain_text(r.dedupe_key, claim_items.mark), t.name) as key,
            coalesce(case when claim_items.mark is null then r.payload
                else pgconductor.show_escapes(r.payload::text, claim_items.mark)::json end, 'null') as payload,
            case when claim_items.mark is null then r.metadata
                else pgconductor.show_escapes(r.metadata::text, claim_items.mark)::json end as metadata
        from (
            select j.*, row_number() over () as pos
            from json_to_recordset(claim_items.items) as j(payload json, queue text, priority int, metadata json,
                dedupe_key text, dedupe_for interval, throttle interval, debounce interval, max_wait interval)
        ) r
        cross join (select x.name, x.queue, x.priority from pgconductor.tasks x where x.name = claim_items.task) t
    ), keyed as (
        select g.*, case when g.kind is null then 0 else dense_rank() over (order by g.kind, g.queue, g.key) end as nth,
            g.kind is not null and row_number() over (partition by g.kind, g.queue, g.key
                order by case g.kind when 'debounce' then -g.pos else g.pos end) = 1 as leads
        from given g
    )
    select array_agg(k.nth::int order by k.pos), array_agg(k.leads order by k.pos),
        array_agg(k.kind is not distinct from 'throttle' order by k.pos),
        array_agg(row(claim_items.ids[k.pos], k.kind, k.queue, k.key, k.span, k.max_wait, k.priority, k.payload,
            k.metadata)::pgconductor.claim order by k.nth) filter (where k.leads),
        max(octet_length(k.payload::text)) filter (where k.kind is not null)
    into groups, leads, alone, claims, largest
    from keyed k;
    if claims is null then
        return claim_items.ids;
    end if;

    perform pgconductor.check_size(claim_items.what, largest);
    held := pgconductor.claim_keys(claim_items.task, claims, claim_items.awaited);
    return (
        select array_agg(case when i.nth = 0 then i.id when i.leads or not i.alone then nullif(held[i.nth], 0) end order by i.pos)
        from unnest(claim_items.ids, groups, leads, alone) with ordinality as i(id, nth, leads, alone, pos)
    );
end
$$;

comment on function pgconductor.claim_items(text, text, json, text, bigint[], boolean) is
'Engine. What invoke_batch is to answer for each item: the id drawn for it, ids, if it is to be made; else the id of another, or null. See claim_keys. items: checked, without escapes, see hide_escapes; mark: theirs.';
