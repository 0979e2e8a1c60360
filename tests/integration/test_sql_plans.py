"""Plans: the same walk along an index whatever the size of the table, and whatever was known when it was planned."""

import json

import psycopg
import pytest

from support.sqlnode import ALL, Node, declare, one

HOT = ("executions", "running", "steps", "wakes")
LANES = [(s, lane) for s in (1, 2, 3, 4) for lane in (0, -1, -2)]
MODIFY = ("ModifyTable", "LockRows")


@pytest.fixture
def explained(connect):
    """A function that makes a connection report its plans; they come back as (node type, relation, index, buffers)."""
    def start(conn):
        try:
            conn.execute("load 'auto_explain'")
        except psycopg.Error:
            pytest.skip("no auto_explain")
        for name, value in (("log_min_duration", 0), ("log_nested_statements", "on"), ("log_format", "json"),
                            ("log_level", "notice"), ("log_analyze", "on"), ("log_buffers", "on")):
            conn.execute("select set_config(%s, %s, false)", ("auto_explain." + name, str(value)))
        conn.execute("set client_min_messages = notice")
        plans = []
        conn.add_notice_handler(lambda d: plans.append(json.loads(d.message_primary.split("plan:\n", 1)[1])["Plan"])
                                if "plan:\n" in d.message_primary else None)
        return plans
    return start


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def flat(plans):
    return [n for plan in plans for n in nodes(plan)]


def check(name, rows, plans, expected=()):
    """Hot tables and history are reached by an index, or by where a row stands, only, and these indexes are among those used."""
    found = flat(plans)
    for n in found:
        relation = n.get("Relation Name", "")
        if relation in HOT or relation.startswith("finished_"):
            assert n["Node Type"] in ("Index Scan", "Index Only Scan", "Tid Scan", *MODIFY), (name, rows, n)
            if n["Node Type"] not in MODIFY:
                assert "Index Cond" in n or "TID Cond" in n, (name, rows, n)
        assert n["Node Type"] not in ("Hash Join", "Merge Join", "Bitmap Heap Scan", "Memoize", "Materialize", "Gather"), (name, rows, n)
    used = {n.get("Index Name") for n in found}
    assert set(expected) <= used, (name, rows, used)


def fill(db, rows):
    """Ready rows in all lanes; a tenth as many delayed, and as many whose next attempt is delayed, some parked and running."""
    db.execute("insert into pgconductor.executions (ready_xid, created_at, run_at, shard, lane, priority, queue, task, payload, waiting)"
               " select case when n %% 10 > 0 then pg_current_xact_id() end, now(), case n %% 100 when 0 then 'infinity' else"
               " now() + (n %% 1000 - 500) * interval '1 s' end, 1 + n %% 4, -((n / 4) %% 3), (n / 4) %% 3, 'default', 'work', '{}',"
               " case when n %% 10 = 5 then 'delayed' end from generate_series(1, %s) n", (rows,))
    db.execute("insert into pgconductor.running (id, ready_xid, started_at, shard, node, attempt) select id, ready_xid, now(),"
               " shard, 1, 1 from pgconductor.executions where ready_xid is not null limit %s on conflict do nothing", (rows // 10,))


def keyed(db, rows):
    """Ready ones with keys, many of some; some that have begun."""
    db.execute("insert into pgconductor.executions (ready_xid, created_at, run_at, shard, queue, task, payload, key, begun)"
               " select case when n %% 50 > 0 then pg_current_xact_id() end, now(), now() + interval '1 hour', 1 + n %% 2, 'default', 'work',"
               " '{}', case when n %% 3 = 0 then 'k1' else 'k' || n end, case when n %% 25 = 0 then true end from generate_series(1, %s) n", (rows,))


def last(db, base, rows):
    """A hundred parents with many steps and children, ready and waiting, and wakes for them."""
    db.execute("insert into pgconductor.executions (id, ready_xid, created_at, run_at, shard, queue, task, payload, parent, parent_key,"
               " journal, pending, waiting) select %(base)s + n, case when n %% 2 = 0 then pg_current_xact_id() end, now(),"
               " now() + interval '1 hour', 1 + n %% 4, 'default', 'work', '{}', case when n > 100 then %(base)s + 1 + n %% 100 end,"
               " case when n > 100 then n::text end, true, case when n %% 2 = 1 then 9 end,"
               " case when n %% 2 = 1 then 'suspended' end from generate_series(1, %(rows)s) n", {"base": base, "rows": rows})
    db.execute("insert into pgconductor.steps (execution, due_at, key, result) select %(base)s + 1 + n %% 100, case n %% 3 when 0"
               " then 'infinity' when 1 then now() + n * interval '1 s' end::timestamptz, n::text, '1' from generate_series(1, %(rows)s) n",
               {"base": base, "rows": rows})
    db.execute("insert into pgconductor.wakes (shard, execution, key, result) select 1 + n %% 4, %(base)s + 1 + n %% 100, n::text, '1'"
               " from generate_series(1, %(rows)s) n", {"base": base, "rows": rows})


def exercise(node, explained, prepared):
    """Call everything of the hot path once; returns the plans by function."""
    if not prepared:
        prepared["writer"], prepared["reader"] = explained(node.writer), explained(node.reader)
    got = {}

    def call(name, what, session="writer"):
        prepared[session].clear()
        result = what()
        got[name] = list(prepared[session])
        return result
    _, _, rows = call("poll", lambda: node.poll([(s, lane, "0", 0, ALL, 5) for s, lane in LANES]), "reader")
    call("poll_due", lambda: node.poll_due([(s, lane, "-infinity", 0, 5) for s, lane in LANES]), "reader")
    runs = [(r[1], r[2], r[3]) for part in rows for r in part] or [(1, "1", 0), (2, "2", 0), (3, "3", 0)]
    columns = [r[0] for r in runs], [r[1] for r in runs]
    call("poll_keys", lambda: node.reader.execute(
        "select * from pgconductor.poll_keys(1, '{k}', '{\"\"}', '{m}', 'n', 20, 3, true, '{k1,k2}', '{0,-2147483648}', '{5,0}', '{2,2}')").fetchall(),
         "reader")
    call("scan_keys", lambda: node.reader.execute("select * from pgconductor.scan_keys(1, '{k}', 'k', 20, true)").fetchall(), "reader")
    call("fetch", lambda: node.reader.execute("select * from pgconductor.fetch(%s::bigint[], %s::xid8[])", columns).fetchall(), "reader")
    call("note_running", lambda: node.note(runs[:5], shard=1))
    call("forget_running", lambda: node.call("select pgconductor.forget_running(%s::bigint[], %s::xid8[])", *columns))
    call("settle_plain", lambda: node.settle_plain(runs[:2]))
    call("settle_full", lambda: node.settle(runs[2:6], ["completed", "failed", "deferred", "failed"][:len(runs[2:6])]))
    call("settle_locked", lambda: node.settle_locked(runs[6:10] or runs))
    call("make_ready", lambda: node.call("select pgconductor.make_ready(%s::bigint[], %s::xid8[])", *columns))
    call("park", lambda: node.call("select pgconductor.park(%s::bigint[], %s::xid8[], 'unserved')", *columns))
    call("unpark", lambda: node.call("select pgconductor.unpark('{1,2,3,4}')"))
    call("rehome", lambda: node.call("select pgconductor.rehome(%s::bigint[], %s::xid8[], %s)", *columns, node.id + 1))
    call("rehome_to", lambda: node.call("select pgconductor.rehome_to(%s::bigint[], %s::xid8[], 1)", *columns))
    call("promote", lambda: node.promote(None, 7))
    # Executions that last, where there are any.
    runs = [(*r, 0) for r in node.call("select id, ready_xid from pgconductor.executions e where id > 1000000 and ready_xid is not null"
                                       " and parent is null order by id limit 8")] or [(1, "1", 0), (2, "2", 0)]
    call("save_steps", lambda: node.save_steps([(r, "x", "1") for r in runs] * 2))
    call("steps_of", lambda: node.steps(*runs), "reader")
    waits = [{"key": "a", "task": "work", "priority": 1}, {"key": "b", "task": "work", "timeout_ms": 0}, {"key": "t", "timer_ms": 60000}]
    call("suspend_runs", lambda: node.suspend(*((r, waits, True) for r in runs[:4])))
    call("poll_wakes", lambda: node.wakes(5), "reader")
    call("take_wakes", lambda: node.take_wakes(node.wakes(100) or [(1, "1", 1)]))
    call("end_waits", lambda: node.call("select count(*) from pgconductor.end_waits(%s)", [r[0] for r in runs]))
    call("set_progress", lambda: node.call("select pgconductor.set_progress(%s::bigint[], %s::xid8[], %s::int[], %s::text[])",
                                           [r[0] for r in runs], [r[1] for r in runs], [1] * len(runs), ["x"] * len(runs)))
    call("make_call", lambda: node.call("select pgconductor.make_call(%s, %s, 'cancel', '{\"id\": 1}', null, false)", *runs[0][:2]))
    call("settle_lasting", lambda: node.settle(runs[4:], ["completed", "failed"] * (len(runs[4:]) // 2)))
    call("end_cancelled", lambda: node.call("select * from pgconductor.end_cancelled(%s, array_fill('{}'::json, array[%s]), false)",
                                            [r[0] for r in runs], len(runs)))
    return got


EXPECTED = {
    "poll": ["executions_ready"], "poll_due": ["executions_due"], "make_ready": ["executions_pkey"], "poll_keys": ["executions_key", "executions_held"],
    "scan_keys": ["executions_key", "executions_held"], "fetch": ["executions_pkey"], "settle_plain": ["executions_pkey"],
    "settle_full": ["executions_pkey", "running_pkey"], "settle_locked": ["executions_pkey", "running_pkey"],
    "promote": ["executions_delayed"], "park": ["executions_pkey"], "unpark": ["executions_delayed"],
    "rehome": ["executions_pkey"], "rehome_to": ["executions_pkey"], "note_running": ["executions_pkey"],
    "forget_running": ["running_pkey"], "save_steps": ["executions_pkey"], "steps_of": ["executions_pkey", "steps_pkey"],
    "suspend_runs": ["executions_pkey", "steps_pkey"], "poll_wakes": ["wakes_shard"], "take_wakes": ["wakes_shard", "executions_pkey", "steps_pkey"],
    "end_waits": ["steps_waiting", "steps_pkey", "executions_children"], "set_progress": ["running_pkey"],
    "make_call": ["executions_pkey"], "settle_lasting": ["steps_pkey", "executions_children", "executions_pkey"],
    "end_cancelled": ["executions_pkey", "executions_children", "steps_pkey", "running_pkey"]}


@pytest.mark.parametrize("analyzed", [False, True], ids=["unknown", "analyzed"])
def test_plans_of_the_engine(db, connect, explained, analyzed):
    """Prepared on an empty table, and anew at each size; with statistics and without."""
    declare(db)
    db.execute("insert into pgconductor.lanes select s, l from unnest('{1,2,3,4}'::int[]) s, unnest('{-1,-2}'::int[]) l")
    if not analyzed:
        for table in HOT:
            db.execute(f"alter table pgconductor.{table} set (autovacuum_enabled = off)")
    first = Node(connect).serve("default/work")
    first.settle_in()
    prepared = {}
    for rows in (0, 1000, 99000):
        if rows:
            fill(db, rows)
            keyed(db, rows // 2)
            last(db, rows * 1000, rows // 5)
        if analyzed:
            db.execute("analyze pgconductor.executions, pgconductor.running, pgconductor.lanes, pgconductor.tasks,"
                       " pgconductor.steps, pgconductor.wakes")
        late = Node(connect)
        late.epochs = dict(first.epochs)
        for node, plans in ((first, prepared), (late, {})):
            for name, found in exercise(node, explained, plans).items():
                check(name, rows, found, EXPECTED[name])
        late.die()


def test_plans_of_clients(db, connect, explained):
    """With whatever settings their sessions have: by key, once there is more than a page."""
    declare(db)
    node = Node(connect).serve("default/work")
    node.settle_in()
    fill(db, 20000)
    db.execute("insert into pgconductor.finished_executions (id, finished_at, created_at, attempt, priority, state, queue,"
               " task, payload) select 1000000 + n, now(), now(), 1, 0, 'failed', 'default', 'work', '{}'"
               " from generate_series(1, 20000) n")
    for statement in ("select 1", "analyze pgconductor.executions", "analyze pgconductor.finished_executions"):
        db.execute(statement)
        client = connect(prepare_threshold=0)
        plans = explained(client)
        for n in range(1, 8):
            for call in ("cancel(%s)", "retry(1000000 + %s)", "result(1000000 + %s)", "result(100 + %s)"):
                client.execute(f"select pgconductor.{call}", (n + 10 * len(statement),))
            client.execute("select * from pgconductor.executions_all where id = %s", (1000000 + n,))
            client.execute("select pgconductor.invoke('work')")
        for n in flat(plans):
            if n.get("Relation Name") == "executions" or n.get("Relation Name", "").startswith("finished_"):
                small = n["Node Type"] == "Seq Scan" and n.get("Actual Rows", 0) == 0 and n.get("Rows Removed by Filter", 0) == 0
                assert small or n["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Heap Scan", *MODIFY), n


def buffers(plans):
    return sum(p.get("Shared Hit Blocks", 0) + p.get("Shared Read Blocks", 0) for p in plans)


def test_cost_of_a_poll_does_not_grow(db, connect, explained):
    """Twelve lanes, prepared on an empty table: what is touched depends on what is read, not on what is there."""
    declare(db)
    node = Node(connect).serve("default/work")
    node.settle_in()
    db.execute("insert into pgconductor.lanes select s, l from unnest('{1,2,3,4}'::int[]) s, unnest('{-1,-2}'::int[]) l")
    plans = explained(node.reader)
    ranges = [(s, lane, "0", 0, ALL, 100) for s, lane in LANES]
    node.poll(ranges)
    seen = []
    for rows in (10000, 90000):
        fill(db, rows)
        db.execute("vacuum pgconductor.executions")
        node.poll(ranges)
        plans.clear()
        got = node.poll(ranges)[2]
        assert [len(g) for g in got] == [100] * 12
        seen.append(buffers(plans))
    assert seen[1] <= seen[0] * 1.3 + 20, seen
    # At the end of the lanes.
    plans.clear()
    node.poll([(s, lane, ALL, 0, ALL, 100) for s, lane in LANES])
    assert buffers(plans) < 120


def test_cost_of_a_promotion_does_not_grow(db, connect, explained):
    """From the last promoted time on: what was promoted before has left dead entries in the index, for as long as an old
    transaction keeps vacuum from them."""
    declare(db)
    node = Node(connect).serve("default/work")
    node.settle_in()
    old = connect(autocommit=False)
    old.execute("set transaction isolation level repeatable read")
    old.execute("select 1")
    db.execute("insert into pgconductor.executions (ready_xid, created_at, run_at, shard, queue, task, payload)"
               " select null, now(), now() - n * interval '1 ms', 1 + n %% 4, 'default', 'work', '{}'"
               " from generate_series(1, 20000) n" .replace("%%", "%"))
    plans = explained(node.writer)
    promoted, upto, due = node.promote(None, 30000)
    assert (promoted, due) == (20000, None)
    plans.clear()
    assert node.promote(upto)[0] == 0
    late = buffers(plans)
    plans.clear()
    assert node.promote(None)[0] == 0
    assert late < 100 < buffers(plans)
    old.rollback()


def test_only_the_indexes_that_earn_their_keep(db):
    assert db.execute("select indexname from pg_indexes where schemaname = 'pgconductor' and tablename = 'executions'"
                      " order by 1").fetchall() == [("executions_children",), ("executions_delayed",), ("executions_due",),
                                 ("executions_held",), ("executions_key",), ("executions_pkey",), ("executions_ready",)]
    assert one(db, "select count(*) from pg_constraint where contype = 'f' and (conrelid = 'pgconductor.executions'::regclass"
                   " or confrelid = 'pgconductor.executions'::regclass)") == (0,)
    # A unique lane would make transactions wait for each other; a default partition would be scanned under a lock.
    assert one(db, "select count(*) from pg_index where indrelid = 'pgconductor.lanes'::regclass and indisunique") == (0,)
    assert one(db, "select partdefid::int from pg_partitioned_table where partrelid = 'pgconductor.finished_executions'::regclass") == (0,)


def test_poll_is_one_statement(db, connect):
    """Inlined: as a statement of its own it would be planned at each call, and its snapshot might be another one."""
    assert db.execute("select provolatile, prosecdef, proconfig, proisstrict from pg_proc where proname in ('poll', 'poll_due')").fetchall() == [
        ("s", False, None, False)] * 2
    node = Node(connect)
    text = "\n".join(r[0] for r in node.reader.execute(
        "explain select * from pgconductor.poll('{1}', '{1}', '{0}', '{0}', '{0}', '{1}', '{1}')").fetchall())
    assert "executions_ready" in text and "Function Scan on poll" not in text
    text = "\n".join(r[0] for r in node.reader.execute(
        "explain select * from pgconductor.poll_due('{1}', '{1}', '{-infinity}', '{0}', '{1}')").fetchall())
    assert text.count("executions_due") == 2 and "Function Scan on poll" not in text
