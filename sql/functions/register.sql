create or replace function pgconductor.register(node int, place text, wholes text[], sources text[], queues text[],
    known boolean[], units int[], tasks text[], homes text[], options json[], triggers json[])
returns table (source text, task text, message text)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    says_source text[];
    says_queue text[];
    says_digest text[];
    says_unit int[];
    changed text[];
    found_id bigint;
    last_id bigint;
begin
    -- Nodes say the same again and again, and that takes no lock: it is looked once before, and once behind it.
    for round in 1..2 loop
        if round = 2 then
            lock table pgconductor.versions in share row exclusive mode;
        end if;
        select array_agg(w.source), array_agg(w.queue), array_agg(w.digest), array_agg(w.unit)
        into says_source, says_queue, says_digest, says_unit
        from (
            select u.source, u.queue, u.unit::int as unit, case when u.known then md5(coalesce((
                select string_agg(md5(row(t.task, t.home, t.options::text, t.triggers::text)::text), '' order by t.task collate "C")
                from unnest(register.units, register.tasks, register.homes, register.options, register.triggers)
                    as t(unit, task, home, options, triggers)
                where t.unit = u.unit), '')) end as digest
            from unnest(register.sources, register.queues, register.known) with ordinality as u(source, queue, known, unit)
            union all
            -- Of queues that it does not speak of any more it says that there is nothing: a program that tells all that it
            -- has, and a configuration of which this is the next one at its place.
            select distinct v.source, v.queue, null::int, md5('') from pgconductor.versions v
            where (v.source = any (register.wholes) or v.source = 'config' and register.place = any (v.places))
                and not exists (select from unnest(register.sources, register.queues) as u(source, queue)
                    where u.source = v.source and u.queue = v.queue)
        ) w;
        if register.node is not null
            and not exists (
                select from unnest(says_source, says_queue, says_digest) as s(source, queue, digest)
                where s.digest is not null and not exists (
                    select from pgconductor.versions v
                    where v.source = s.source and v.queue = s.queue and v.digest = s.digest and register.node = any (v.nodes)))
            and not exists (
                select from pgconductor.versions v
                where register.node = any (v.nodes) and not exists (
                    select from unnest(says_source, says_queue, says_digest) as s(source, queue, digest)
                    where s.source = v.source and s.queue = v.queue and coalesce(s.digest, v.digest) = v.digest))
        then
            return;
        end if;
    end loop;

    with gone as (
        update pgconductor.versions v set nodes = array_remove(v.nodes, register.node)
        where register.node = any (v.nodes) and not exists (
            select from unnest(says_source, says_queue, says_digest) as s(source, queue, digest)
            where s.source = v.source and s.queue = v.queue and coalesce(s.digest, v.digest) = v.digest)
        returning v.source
    )
    select array(select g.source from gone g) into changed;

    for i in 1..coalesce(cardinality(says_source), 0) loop
        continue when says_digest[i] is null or exists (
            select from pgconductor.versions v
            where v.source = says_source[i] and v.queue = says_queue[i] and v.digest = says_digest[i] and register.node = any (v.nodes));
        changed := changed || says_source[i];
        select max(v.id) filter (where v.digest = says_digest[i]), max(v.id) into found_id, last_id
        from pgconductor.versions v where v.source = says_source[i] and v.queue = says_queue[i];
        if found_id is null then
            insert into pgconductor.versions (source, queue, digest, said_at)
            values (says_source[i], says_queue[i], says_digest[i], pgconductor.now())
            returning id into found_id;
            insert into pgconductor.declarations (version, task, home, options, triggers)
            select found_id, t.task, t.home, t.options, t.triggers
            from unnest(register.units, register.tasks, register.homes, register.options, register.triggers)
                as t(unit, task, home, options, triggers)
            where t.unit = says_unit[i]
            on conflict do nothing;
        end if;
        -- Who says it for the first time brings back what was retired.
        update pgconductor.declarations d set retired = false where d.version = found_id and d.retired;
        -- What is said by hand is the latest word; a node that is started anew may be an old one.
        update pgconductor.versions v
        set id = case when register.node is null and found_id < last_id then nextval('pgconductor.versions_id_seq') else v.id end,
            kept = register.node is null,
            nodes = case when register.node is null then v.nodes else array(
                select distinct n from unnest(v.nodes || register.node) n where n in (select x.id from pgconductor.nodes x)) end,
            places = case when register.place is null or register.place = any (v.places) then v.places
                else (array_prepend(register.place, v.places))[:100] end
        where v.id = found_id;
    end loop;
    return query select s.source, s.task, s.message from pgconductor.settle_versions(changed) s;
end
$$;

comment on function pgconductor.register(int, text, text[], text[], text[], boolean[], int[], text[], text[], json[], json[]) is
'Engine. All that a node says of tasks: what it has said before and does not say now it does not say any more. node: its id; null: it is said by hand. place: where its configuration stands, null for none. wholes: the sources of which it tells everything, whatever the queue. For each of sources and queues, known: whether that is known yet (else it is as before); for each task its unit (the position, from 1, of its source and queue), name, home queue, options and triggers. Returns what is wrong with tasks and triggers; the others are declared all the same.';
