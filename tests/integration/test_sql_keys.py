"""The keys of tasks in SQL: the options, what an execution's key is however it was made, and that it stays right."""

import json

import psycopg
import pytest

from support.sqlnode import Node, declare, invoke, one, row_of


def keys(db, task=None):
    """The keys of a task's unfinished executions, by id; None where there is none."""
    return [r[0] for r in db.execute("select key from pgconductor.executions where task = coalesce(%s, task) order by id",
                                     (task,)).fetchall()]


def settings(db, task="k"):
    return one(db, "select key_path, key_limit, key_fifo, key_rate_limit, key_rate_ms, key_rate_burst, rate_limit, limited_xid is not null"
                   " from pgconductor.load_tasks() where name = %s", task)


def run_of(db, execution):
    """(id, ready_xid, attempt) of a ready execution, which with a key is not among what poll() reads."""
    return one(db, "select id, ready_xid, attempt from pgconductor.executions where id = %s and ready_xid is not null", execution)


def reroute(node, *runs):
    return node.call("select pgconductor.reroute(%s::bigint[], %s::xid8[])", [r[0] for r in runs], [r[1] for r in runs])[0][0]


def in_own_shard(db):
    """That what has a key is in a shard of its task, and nothing else of such tasks is."""
    assert db.execute("select e.id from pgconductor.executions e join pgconductor.shards s on s.id = e.shard"
                      " join pgconductor.tasks t on t.name = e.task"
                      " where (e.key is not null) <> (s.task is not distinct from e.task and t.key_path is not null)").fetchall() == []


@pytest.fixture
def node(db, connect):
    """Serves the task k, whose key is "a", and the task work, which has none."""
    db.execute("select pgconductor.ensure_queue('default', 1)")
    declare(db)
    declare(db, "k", fifo_key="a")
    made = Node(connect).serve("default/k", "default/work", queues=["default"])
    made.settle_in()
    return made


# ---- options

@pytest.mark.parametrize("options, expected", [
    ({"fifo_key": "a.b"}, ("a.b", 1, True, None, None, None, None, True)),
    ({"concurrency_key": "a"}, ("a", None, False, None, None, None, None, True)),
    ({"concurrency_key": {"key": "a", "limit": 5}}, ("a", 5, False, None, None, None, None, True)),
    ({"concurrency_key": {"key": "a", "limit": 5}, "fifo_key": "a"}, ("a", 1, True, None, None, None, None, True)),
    ({"rate_limit": {"limit": 9, "key": "a"}}, ("a", None, False, 9, 1000, 9, None, True)),
    ({"rate_limit": [{"limit": 9, "period": "1m", "burst": 3, "key": "a"}, {"limit": 50}]},
     ("a", None, False, 9, 60000, 3, 50, True)),
    ({"rate_limit": [{"limit": 50}, {"limit": 9, "key": "a"}], "concurrency_key": "a"}, ("a", None, False, 9, 1000, 9, 50, True)),
    ({"rate_limit": {"limit": 9}}, (None, None, False, None, None, None, 9, True)),
    ({"fifo_key": None, "concurrency_key": None}, (None, None, False, None, None, None, None, False)),
])
def test_what_the_options_say(db, options, expected):
    declare(db, "k", **options)
    assert settings(db) == expected


@pytest.mark.parametrize("options, code, message", [
    ({"fifo_key": ""}, "PC008", "options: fifo_key: not where the key stands in the payload"),
    ({"fifo_key": "a..b"}, "PC008", "options: fifo_key: not where"),
    ({"fifo_key": ".a"}, "PC008", "options: fifo_key: not where"),
    ({"fifo_key": 7}, "PC008", "options: fifo_key: not where"),
    ({"fifo_key": "x" * 201}, "PC008", "options: fifo_key: not where"),
    ({"concurrency_key": ["a"]}, "PC008", "options: concurrency_key: not where"),
    ({"concurrency_key": {"limit": 1}}, "PC008", "options: concurrency_key: one is "),
    ({"concurrency_key": {"key": "a", "limit": 0}}, "PC008", "options: concurrency_key: one is "),
    ({"concurrency_key": {"key": "a", "limit": "2"}}, "PC008", "options: concurrency_key: one is "),
    ({"concurrency_key": {"key": "a", "max": 2}}, "PC008", "options: concurrency_key: one is "),
    ({"rate_limit": {"limit": 1, "key": ""}}, "PC008", "options: rate_limit: key: not where"),
    ({"rate_limit": [{"limit": 1}]}, "PC008", "options: rate_limit: a list has two"),
    ({"rate_limit": []}, "PC008", "options: rate_limit: a list has two"),
    ({"rate_limit": [{"limit": 1}, {"limit": 2}]}, "PC008", "options: rate_limit: a list has two"),
    ({"rate_limit": [{"limit": 1, "key": "a"}, {"limit": 2, "key": "a"}]}, "PC008", "options: rate_limit: a list has two"),
    ({"rate_limit": [{"limit": 1, "key": "a"}, {"limit": 0}]}, "PC008", "options: rate_limit: one is "),
    ({"fifo_key": "a", "concurrency_key": "b"}, "PC009", "options: concurrency_key: its key is 'b', and another option names 'a'"),
    ({"fifo_key": "a", "rate_limit": {"limit": 1, "key": "b"}}, "PC009", "options: rate_limit: its key is 'b'"),
    ({"fifo_key": "a", "batch": {"size": 2}}, "PC009", "options: batch: it does not go with a key"),
    ({"concurrency_key": {"key": "a"}, "rate_limit": [{"limit": 1, "key": "b"}, {"limit": 3}]}, "PC009", "options: rate_limit: its key is 'b'"),
])
def test_bad_options(db, options, code, message):
    with pytest.raises(psycopg.Error) as refused:
        declare(db, "k", **options)
    assert refused.value.sqlstate == code and message in str(refused.value)
    assert db.execute("select from pgconductor.tasks where name = 'k'").fetchall() == []


def test_one_key_whatever_source_says_so(db):
    def say(source, **options):
        db.execute("select pgconductor.declare_task('k', null, %s::json, %s)", (json.dumps(options), source))

    say("code:app", concurrency_key="a")
    say("config", fifo_key="a")
    assert settings(db)[:3] == ("a", 1, True)
    with pytest.raises(psycopg.Error, match="fifo_key|concurrency_key") as refused:
        say("set", fifo_key="b")
    assert refused.value.sqlstate == "PC009" and "pgconductor tasks k" in refused.value.diag.message_hint
    assert settings(db)[:3] == ("a", 1, True)
    # What is declared no more may leave two behind, which nobody has said together; that is no reason to keep it.
    say("code:app", concurrency_key="a", rate_limit={"limit": 3, "key": "a"})
    say("config", concurrency_key="c", rate_limit={"limit": 3, "key": "c"})
    say("code:app", concurrency_key="a", fifo_key="c")
    db.execute("select pgconductor.undeclare('config', 'k')")
    assert one(db, "select key_path, key_fifo, key_limit from pgconductor.tasks where name = 'k'") == (["c"], True, 1)


def test_tasks_say_it_with_its_source(db):
    declare(db, "k", fifo_key="a")
    db.execute("select pgconductor.declare_task('k', null, '{\"concurrency_key\": {\"key\": \"a\", \"limit\": 2}}', 'set')")
    assert db.execute("select option, value, source from pgconductor.task_options() where option ~ '_key$' order by 1").fetchall() == [
        ("concurrency_key", {"key": "a", "limit": 2}, "set"), ("fifo_key", "a", "code:client")]


# ---- what a key is

@pytest.mark.parametrize("path, payload, key", [
    ("a", '{"a": "x"}', "x"),
    ("a.b", '{"a": {"b": 12.50}}', "12.50"),
    ("a.b", '{"a": {"b": [1,  2]}}', "[1,  2]"),
    ("a.1", '{"a": ["x", "y"]}', "y"),
    ("a", '{"a": true}', "true"),
    ("a", '{"a": ""}', ""),
    ("a", '{"a": null}', ""),
    ("a", '{"b": 1}', ""),
    ("a", '"a"', ""),
    ("a", "[1]", ""),
    ("a", "null", ""),
    ("a b.ü", '{"a b": {"ü": "ß"}}', "ß"),
    # As it is written or not, it is the same.
    ("a", '{"a": "\\u00df\\n\\ud83d\\ude00"}', "ß\n😀"),
    ("a", '{"\\u0061": "x"}', "x"),
    ("a", '{"b": "\\u0000", "a": "x"}', "x"),
    ("a", '{"b": "\\ud800", "a": "\\u00df\\""}', 'ß"'),
    # What is no character stays as it is written.
    ("a", '{"a": "x\\u0000"}', "x\\u0000"),
    ("a", '{"a": "\\ud800\\\\"}', "\\ud800\\\\"),
    ("a", '{"a": "' + "x" * 200 + '"}', "x" * 200),
])
def test_what_a_key_is(db, path, payload, key):
    declare(db, "k", fifo_key=path)
    invoke(db, "k", payload)
    assert keys(db) == [key]
    in_own_shard(db)


def test_long_values(db):
    declare(db, "k", fifo_key="a")
    values = ["ß" * 101, "ß" * 101 + "x", "x" * 100000, "x" * 99999 + "y", "\n" * 300]
    db.execute("select pgconductor.invoke('k', json_build_object('a', v)) from unnest(%s::text[]) v", (values * 2,))
    made = keys(db)
    assert made[:5] == made[5:] and len(set(made)) == 5 and max(len(k.encode()) for k in made) <= 200


# ---- every way in

def test_invoke(db):
    declare(db, "k", fifo_key="a", concurrency=3)
    declare(db)
    for call in ("invoke('k', '{\"a\": \"0\"}')", "invoke('k', '{\"a\": \"1\"}'::json)", "invoke('k', '{\"a\": \"2\"}'::jsonb)",
                 "invoke('k', '{\"a\": \"3\"}', delay => '1 hour')", "invoke('k', '{\"a\": \"4\"}', priority => 7)",
                 "invoke('k', '{\"a\": \"5\"}', dedupe_key => 'd')", "invoke('k', '{\"a\": \"6\"}', queue => 'other')",
                 "invoke('k', json_build_object('a', '7', 'b', repeat('x', 10000)))", "invoke('k')"):
        db.execute(f"select pgconductor.{call}")
    assert keys(db) == ["0", "1", "2", "3", "4", "5", "6", "7", ""]
    db.execute("select pgconductor.invoke('work', '{\"a\": 1}'), pgconductor.invoke('work', '{\"a\": 1}', priority => 3)")
    assert keys(db, "work") == [None, None]
    in_own_shard(db)
    # In another queue too, from the first one on.
    assert one(db, "select count(*) from pgconductor.shards where task = 'k'") == (2,)


@pytest.mark.parametrize("items", [
    [{"payload": {"a": n}} for n in range(5)],
    [{"payload": {"a": n, "b": "\x00"}, "priority": n % 2, "queue": ("default", "other")[n % 2]} for n in range(5)],
    [{"payload": {"a": n}, "dedupe_key": str(n), "delay": "1 hour"} for n in range(5)],
])
def test_invoke_batch(db, items):
    declare(db)
    declare(db, "k", fifo_key="a")
    for task in ("work", "k"):
        db.execute("select pgconductor.invoke_batch(%s, %s::json)", (task, json.dumps(items)))
    assert keys(db, "k") == list("01234") and keys(db, "work") == [None] * 5
    in_own_shard(db)


def test_a_debounce_takes_the_last_key(db):
    declare(db, "k", fifo_key="a")
    for n in (1, 2, 3):
        db.execute("select pgconductor.invoke('k', %s, debounce => '1 hour')", (json.dumps({"a": n}),))
    assert keys(db) == ["3"]


def test_children_and_starts(db, node):
    parent = invoke(db)
    assert node.suspend((node.run_of(parent), [
        {"key": "1", "task": "k", "payload": '{"a": "x"}'}, {"key": "2", "task": "k"},
        {"key": "3", "task": "work", "payload": '{"a": "x"}'}])) == []
    starter = invoke(db)
    run = node.run_of(starter)
    draft = node.call("select nextval('pgconductor.executions_id_seq')")[0][0]
    node.call("select pgconductor.make_call(%s, %s::xid8, 'invoke', '{\"task\": \"k\", \"payload\": {\"a\": \"y\"}}', %s, false)",
              run[0], run[1], draft)
    assert keys(db, "k") == ["x", "", "y"] and keys(db, "work") == [None] * 3
    in_own_shard(db)


def test_events_and_schedules(db, node):
    triggers = [{"event": "e"}, {"event": "f", "fields": ["b.a", "a"]}]
    db.execute("select pgconductor.declare_triggers('code:app', 'k', %s)", (json.dumps(triggers),))
    for event in ("e", "f"):
        db.execute("select pgconductor.emit(%s, '{\"a\": \"x\", \"b\": 1}'::text)", (event,))
    node.dispatch_all()
    db.execute("select pgconductor.schedule('k', 's', '* * * * *', '{\"a\": \"tick\"}')")
    db.execute("update pgconductor.schedules set next_at = pgconductor.now() - interval '30 seconds'")
    node.call("select fired from pgconductor.fire_schedules(10)")
    assert keys(db) == ["x", "x", "tick"]
    in_own_shard(db)


def test_a_retry_has_its_key(db, node):
    made = invoke(db, "k", '{"a": "x"}')
    db.execute("select pgconductor.cancel(%s)", (made,))
    assert keys(db) == []
    db.execute("select pgconductor.retry(%s)", (made,))
    assert keys(db) == ["x"]
    assert row_of(db, made)["begun"] is None
    in_own_shard(db)


def test_another_payload_is_another_key(db, node):
    ready = invoke(db, "k", '{"a": "x"}')
    late = invoke(db, "k", '{"a": "x"}', delay="1 hour")
    plain = invoke(db, "work", '{"a": "x"}', delay="1 hour")
    for each in (ready, late, plain):
        db.execute("select pgconductor.edit(%s, '{\"a\": \"y\"}'::text)", (each,))
    assert node.take_changes() == [(1, True, False)]
    assert keys(db, "k") == ["y", "y"] and keys(db, "work") == [None]
    db.execute("select pgconductor.edit(%s, priority => 3)", (late,))
    # Where its task has no shard yet it has no key: who reads it there brings it where it belongs.
    db.execute("select pgconductor.move(%s, 'other')", (late,))
    assert keys(db, "k") == ["y", None]
    in_own_shard(db)
    invoke(db, "k", '{"a": "z"}', queue="other")
    db.execute("select pgconductor.move(%s, 'default')", (late,))
    db.execute("select pgconductor.move(%s, 'other')", (late,))
    assert keys(db, "k") == ["y", "y", "z"]
    in_own_shard(db)


# ---- what has begun

def test_what_has_begun_says_so(db, node):
    failed, put_off, asleep, parent, parked = (invoke(db, "k", '{"a": "x"}') for _ in range(5))
    plain = invoke(db)
    assert {row_of(db, e)["begun"] for e in (failed, put_off, asleep, parent, parked, plain)} == {None}
    node.settle([run_of(db, failed)], "failed", error='{"message": "no"}')
    node.settle([run_of(db, put_off)], "deferred", after_ms=60000)
    node.settle([node.run_of(plain)], "failed", error='{"message": "no"}')
    assert node.suspend((run_of(db, asleep), [{"key": "s", "timer_ms": 60000}]),
                        (run_of(db, parent), [{"key": "c", "task": "work"}])) == []
    run = run_of(db, parked)
    node.call("select pgconductor.park(%s::bigint[], %s::xid8[], 'paused')", [run[0]], [run[1]])
    assert [row_of(db, e)["begun"] for e in (failed, put_off, asleep, parent, parked, plain)] == [True, True, True, True, None, None]
    held = "select id from pgconductor.executions where shard = %s and key = 'x' and key is not null and (begun or waiting is not null)" \
           " and ready_xid is null order by id"
    shard = row_of(db, failed)["shard"]
    assert [r[0] for r in db.execute(held, (shard,)).fetchall()] == [failed, put_off, asleep, parent, parked]
    # Ready again they have begun all the same, but not what was only parked.
    db.execute("update pgconductor.executions set run_at = pgconductor.now() where run_at < 'infinity'")
    node.promote()
    node.call("select pgconductor.unpark(%s)", [shard])
    assert [r[0] for r in db.execute(held, (shard,)).fetchall()] == [parent]
    assert [row_of(db, e)["begun"] for e in (failed, put_off, asleep, parked)] == [True, True, True, None]


@pytest.mark.parametrize("change", [
    "cancel({})", "edit({}, '{{\"a\": \"y\"}}'::text)", "move({}, 'other')"])
def test_who_sleeps_is_woken_when_a_key_is_free(db, connect, node, change):
    failed, late = invoke(db, "k", '{"a": "x"}'), invoke(db, "k", '{"a": "x"}', delay="1 hour")
    node.settle([run_of(db, failed)], "failed", error='{"message": "no"}', after_ms=3600000)
    db.execute("select pgconductor.ensure_queue('other', 1)")
    listener, sleeper = connect(), connect()
    heard = []
    listener.add_notify_handler(lambda n: heard.append(n.payload))
    listener.execute(f"listen pgconductor_{node.id}")
    sleeper.execute("select pg_advisory_lock(1346847491, %s)", (node.id,))
    # What has not begun holds up nobody.
    db.execute("select pgconductor." + change.format(late))
    listener.execute("select 1")
    assert heard == []
    db.execute("select pgconductor." + change.format(failed))
    listener.execute("select 1")
    assert heard == [""]


# ---- changes of the options

def test_what_waits_gets_its_key_when_it_is_read(db, node):
    declare(db, "late")
    old = [invoke(db, "late", json.dumps({"a": n})) for n in range(3)]
    declare(db, "late", fifo_key="a")
    new = invoke(db, "late", '{"a": "new"}')
    assert keys(db, "late") == [None] * 3 + ["new"]
    runs = [run_of(db, e) for e in (*old, new)]
    # The last one is where it belongs.
    assert reroute(node, *runs) == [4]
    assert keys(db, "late") == ["0", "1", "2", "new"]
    assert [run_of(db, e)[1] for e in old] != [r[1] for r in runs[:3]]
    in_own_shard(db)


def test_a_limited_task_gets_a_key_and_loses_it(db, node):
    declare(db, "late", concurrency=2)
    made = [invoke(db, "late", '{"a": "x", "b": "y"}') for _ in range(2)]
    shard = row_of(db, made[0])["shard"]
    before = one(db, "select limited_xid from pgconductor.tasks where name = 'late'")
    declare(db, "late", concurrency=2, concurrency_key="a")
    assert keys(db, "late") == [None, None]
    assert reroute(node, *(run_of(db, e) for e in made)) == []
    assert keys(db, "late") == ["x", "x"] and {row_of(db, e)["shard"] for e in made} == {shard}
    assert reroute(node, *(run_of(db, e) for e in made)) == [1, 2]
    # Another key, of which the nodes must hear before anything begins by it; and none.
    declare(db, "late", concurrency=2, concurrency_key="b")
    assert one(db, "select limited_xid from pgconductor.tasks where name = 'late'") != before
    assert reroute(node, *(run_of(db, e) for e in made)) == []
    assert keys(db, "late") == ["y", "y"]
    declare(db, "late", concurrency=2)
    assert reroute(node, *(run_of(db, e) for e in made)) == []
    assert keys(db, "late") == [None, None] and {row_of(db, e)["shard"] for e in made} == {shard}
    # One that had begun stays so.
    declare(db, "late", fifo_key="b")
    node.settle([run_of(db, made[0])], "failed", error='{"message": "no"}', after_ms=0)
    assert reroute(node, *(run_of(db, e) for e in made)) == []
    assert [row_of(db, e)["begun"] for e in made] == [True, None]
    declare(db, "late")
    assert reroute(node, *(run_of(db, e) for e in made)) == []
    assert keys(db, "late") == [None, None] and shard not in {row_of(db, e)["shard"] for e in made}


def test_a_dump_that_is_restored_elsewhere(db, node):
    """Runs with numbers of transactions that are still to come are made runs of now."""
    made = invoke(db, "k", '{"a": "x"}')
    shard = row_of(db, made)["shard"]
    db.execute("update pgconductor.executions set ready_xid = '999999999999'")
    db.execute("update pgconductor.shards set system_id = 7")
    node.settle_in()
    if shard not in node.epochs:
        node.take(node.lock([shard]))
    else:
        node.take([shard], [node.epochs[shard]])
    assert one(db, "select ready_xid < pg_snapshot_xmax(pg_current_snapshot()) from pgconductor.executions") == (True,)
