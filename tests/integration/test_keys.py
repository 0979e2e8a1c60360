"""Keys of tasks: how many of each run at once, in which order, how many begin, and whose turn it is. What runs is shown by
locks that the handlers hold, see support/flow_handler.py; what holds while things are killed is in test_flow_kills."""

import collections
import json
import random
import time

import pytest

from support.engine import invoke, result, value, wait_empty, wait_finished
from support.limits import Limited, in_order, most_at_once
from support.wait import wait_for

FIFO = {"fifo_key": "key"}
PAIR = {"concurrency_key": {"key": "key", "limit": 2}}


class Keyed(Limited):
    def open(self, *tasks, queue="default"):
        """Wait until they are handed out by their keys."""
        for task in tasks:
            one = invoke(self.db, task, '{"key": "first", "n": -1}', queue=queue)
            wait_finished(self.db, one, timeout=20)

    def runs(self):
        """(key, number) in the order in which they began."""
        return [(run.key, int(run.n)) for run in self.began() if run.n not in ("-1", "None")]

    def in_order(self, of):
        """Each key from its first to its last, none before the one before it has ended, however often that began."""
        assert in_order([run for run in self.began("ordered") if run.n != "-1"]) == of


@pytest.fixture
def keyed(server, db, ledger, short_tmp):
    places = {"ordered": {"ordered-{key}": 1}, "tenant": {"tenant-{key}": 2}, "free": {}}
    return Keyed(server, db, ledger, short_tmp, places, ("tenant", "tenant-{key}"))


def per_key(keys, n, **payload):
    """Payloads of n executions of each key, mixed as they would come."""
    return [{"key": key, "n": i, **payload} for i in range(n) for key in keys]


def test_each_key_in_its_order(keyed, db):
    """Others go on while one waits for its next attempt, or sleeps; what is of a key stays in its order over that."""
    keyed.start(1)
    keyed.declare("ordered", **FIFO)
    keyed.open("ordered")
    payloads = per_key("abcd", 25)
    for p in payloads:
        if p["n"] % 7 == 3:
            p["fail"] = 2
        if p["n"] % 9 == 5:
            p["nap"] = True
        p["ms"] = p["n"] % 4
    ids = keyed.batch("ordered", payloads)
    wait_empty(db, 30)
    keyed.exact()
    keyed.in_order({key: list(range(25)) for key in "abcd"})
    counts = keyed.ledger.counts("end")
    assert {i: counts[i] for i in ids} == dict.fromkeys(ids, 1)


def test_a_key_waits_for_what_has_begun(keyed, db, cli):
    """Also while that waits for its next attempt, and the node sleeps; others do not wait."""
    keyed.start(1)
    keyed.declare("ordered", **FIFO)
    keyed.open("ordered")
    first = invoke(db, "ordered", '{"key": "a", "n": 0, "fail": 1, "after_ms": 60000}')
    wait_for(lambda: value(db, "select ready_xid is null from pgconductor.executions where id = %s", first), 10, "it waits")
    later = [invoke(db, "ordered", '{"key": "a", "n": 1}'), invoke(db, "ordered", '{"key": "a", "n": 2}', priority=9)]
    other = invoke(db, "ordered", '{"key": "b", "n": 0}')
    wait_finished(db, other)
    assert {result(db, one)[0] for one in later} == {"ready"}
    assert "ready (limit)" in cli("show", str(later[0]), check=True).stdout
    # What it waits for is cancelled: the others need not wait any more, and the more urgent one goes first.
    assert value(db, "select pgconductor.cancel(%s)", first)
    for one in later:
        wait_finished(db, one)
    assert [n for key, n in keyed.runs() if key == "a"] == [0, 2, 1]


def test_a_key_is_shown_and_chosen_by(keyed, db, cli):
    """Of what waits and of what has finished; without a limit it makes none wait."""
    keyed.declare("tenant", concurrency_key="key")
    keyed.start(1)
    keyed.open("tenant")
    db.execute("select pgconductor.enable_queue('default', false)")
    keyed.up[0].wait_log("queue default: paused")
    free = invoke(db, "free", '{"key": "a"}')
    ids = keyed.batch("tenant", [{"key": "a"}, {"key": "b"}, {"key": "a"}, {}])

    def listed(*args):
        rows = map(json.loads, cli("list", "--json", "--oldest", *args, check=True).stdout.splitlines())
        return [(int(row["id"]), row["key"]) for row in rows]
    assert listed("--key", "a") == [(ids[0], "a"), (ids[2], "a")]
    assert listed("--key", "") == [(ids[3], "")]
    assert "\nkey       a\n" in cli("show", str(ids[0]), check=True).stdout
    assert "\nkey " not in cli("show", str(free), check=True).stdout
    assert cli("cancel", "--key", "b", check=True).stdout == "1 cancelled\n"
    db.execute("select pgconductor.enable_queue('default')")
    wait_empty(db)
    assert listed("--key", "first", "--state", "completed")
    assert listed("--key", "b") == [(ids[1], "b")]
    assert listed("--key", "a") == [(ids[0], "a"), (ids[2], "a")]


@pytest.mark.parametrize("options, state", [
    ({"concurrency_key": "key"}, "ready"), (PAIR, "ready (limit)"), (FIFO, "ready (limit)"), ({"concurrency": 3}, "ready (limit)"),
    ({"rate_limit": {"limit": 3, "key": "key"}}, "ready (limit)"), ({"rate_limit": {"limit": 3}}, "ready (limit)"), ({}, "ready")])
def test_what_may_have_to_wait_for_a_limit_says_so(keyed, db, cli, options, state):
    keyed.declare("tenant", **options)
    one = invoke(db, "tenant", '{"key": "a"}')
    shown = cli("list", "--json", check=True).stdout
    assert json.loads(shown)["id"] == str(one)
    assert f"  {state}  " in cli("list", check=True).stdout


def test_as_many_of_a_key_run_as_may(keyed, db):
    keyed.start(1)
    keyed.declare("tenant", **PAIR)
    keyed.open("tenant")
    keyed.batch("tenant", per_key("ab", 4, file="go"))
    wait_for(lambda: len(keyed.runs()) == 4, 10, "two of each run")
    # More urgent ones go before the others of their key; other keys are not held up.
    invoke(db, "tenant", '{"key": "a", "n": 9}', priority=5)
    wait_finished(db, invoke(db, "tenant", '{"key": "c", "n": 0}'))
    assert collections.Counter(key for key, _ in keyed.runs()) == {"a": 2, "b": 2, "c": 1}
    keyed.go()
    wait_empty(db)
    assert [n for key, n in keyed.runs() if key == "a"][2] == 9
    keyed.exact()


def test_what_is_edited_moved_or_cancelled(keyed, db):
    """It leaves its place in the key, and the others follow in theirs."""
    keyed.start(1)
    keyed.declare("ordered", **FIFO)
    keyed.open("ordered")
    ids = keyed.batch("ordered", [{"key": "a", "n": 0, "file": "go"}] + [{"key": "a", "n": n} for n in range(1, 13)])
    wait_for(lambda: keyed.runs() == [("a", 0)], 10, "the first one runs")
    assert value(db, "select pgconductor.cancel(%s)", ids[1])
    assert value(db, "select pgconductor.edit(%s, %s::json)", ids[2], '{"key": "b", "n": 2}')
    wait_finished(db, ids[2])
    assert value(db, "select pgconductor.edit(%s, priority => 4)", ids[10])
    assert value(db, "select pgconductor.edit(%s, run_at => now() + interval '1 hour')", ids[4])
    assert value(db, "select pgconductor.move(%s, 'elsewhere')", ids[5])
    wait_for(lambda: value(db, "select count(*) from pgconductor.wakes") == 0, 10, "they are changed")
    keyed.go()
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions") == 2, 15, "all that may have run")
    assert keyed.runs() == [("a", 0), ("b", 2)] + [("a", n) for n in (10, 3, 6, 7, 8, 9, 11, 12)]
    assert value(db, "select pgconductor.edit(%s, run_at => now())", ids[4])
    wait_finished(db, ids[4])
    assert keyed.runs()[-1] == ("a", 4)


def test_keys_take_turns(keyed, db):
    """However much there is of one."""
    keyed.start(1, queue="concurrency = 1")
    keyed.declare("tenant", concurrency_key="key")
    keyed.open("tenant")
    keyed.batch("tenant", [{"key": "a", "n": n, "ms": 10} for n in range(50)] + per_key("bcd", 10, ms=10))
    wait_empty(db, 20)
    begun = [key for key, _ in keyed.runs()]
    for i in range(0, 40, 4):
        assert sorted(begun[i:i + 4]) == list("abcd"), begun


def test_a_new_key_does_not_wait_for_an_old_one(keyed, db, scale):
    """Of the old one no more than may run at once, and ten, begin before its first."""
    keyed.start(1, queue="concurrency = 5")
    keyed.declare("tenant", concurrency_key="key")
    keyed.open("tenant")
    db.execute("select pgconductor.invoke_batch('tenant', json_agg(json_build_object('payload', json_build_object('key', 'big', 'n', n))))"
               " from generate_series(1, %s) n", (scale(20000, 1000000),))
    for k in range(10):
        wait_for(lambda k=k: len(keyed.runs()) > 200 * (k + 1), 30, "many have run")
        time.sleep(random.random() / 10)
        one = invoke(db, "tenant", json.dumps({"key": f"small{k}", "n": k}))
        after = time.time_ns()
        wait_finished(db, one)
        mine = next(e.ns for e in keyed.ledger.entries("start", one))
        between = [e for e in keyed.ledger.entries("start") if after < e.ns < mine]
        assert len(between) <= 5 + 10, (k, len(between))


def test_more_keys_than_fit(keyed, db):
    keyed.start(1, queue="concurrency = 20 fetch_batch = 8")
    keyed.declare("ordered", **FIFO)
    keyed.open("ordered")
    keyed.batch("ordered", per_key([f"k{i}" for i in range(150)], 3))
    wait_empty(db, 40)
    keyed.exact()
    keyed.in_order({f"k{i}": [0, 1, 2] for i in range(150)})


def test_rate_of_each_key(keyed, db):
    """In any time no more of one begin than its burst and what came in by then; and not many less."""
    keyed.slots(100)
    keyed.start(1)
    keyed.declare("tenant", rate_limit={"key": "key", "limit": 20, "period": "1s", "burst": 3})
    keyed.open("tenant")
    keyed.batch("tenant", per_key("abc", 30))
    wait_empty(db, 20)
    for key in "abc":
        runs = [run for run in keyed.began("tenant") if run.key == key]
        assert most_at_once(runs, 20) <= 3 + 2, key
        assert (runs[-1].ns - runs[0].ns) / 1e9 < 6, "they do not wait for each other"


def test_limits_of_the_task_hold_as_well(keyed, db):
    keyed.slots(2)
    keyed.start(1)
    keyed.declare("tenant", concurrency=3, **PAIR)
    keyed.open("tenant")
    keyed.batch("tenant", per_key("ab", 6, file="go"))
    wait_for(lambda: len(keyed.runs()) >= 3, 10, "they run")
    wait_finished(db, invoke(db, "free", '{}'))
    assert len(keyed.runs()) == 3
    keyed.go()
    wait_empty(db)
    keyed.exact()


def test_paused_and_resumed_in_order(keyed, db):
    keyed.start(1)
    keyed.declare("ordered", **FIFO)
    keyed.open("ordered")
    db.execute("select pgconductor.enable_task('ordered', false)")
    keyed.up[0].wait_log("task ordered: paused")
    ids = keyed.batch("ordered", per_key("ab", 20))
    wait_finished(db, invoke(db, "free", '{}'))
    assert not keyed.runs()
    assert {result(db, one)[0] for one in ids} == {"ready"}
    db.execute("select pgconductor.enable_task('ordered', true)")
    wait_empty(db)
    keyed.in_order({key: list(range(20)) for key in "ab"})


@pytest.mark.parametrize("first, then", [({}, FIFO), (FIFO, {}), (FIFO, {"fifo_key": "other"}), (PAIR, FIFO), ({"concurrency": 9}, FIFO)])
def test_keys_change_under_load(keyed, db, first, then):
    """Nothing is lost, and nothing runs twice; of what is invoked later, the new order holds."""
    keyed.slots(1000)
    keyed.start(2)
    keyed.declare("tenant", **first)
    payloads = [{"key": f"k{i % 5}", "other": f"o{i % 3}", "n": i, "ms": 10} for i in range(200)]
    ids = keyed.batch("tenant", payloads)
    wait_for(lambda: len(keyed.runs()) >= 20, 20, "they run")
    keyed.declare("tenant", **then)
    more = keyed.batch("tenant", payloads)
    wait_empty(db, 40)
    counts = keyed.ledger.counts("start") + keyed.ledger.counts("over")
    assert counts == dict.fromkeys(ids + more, 1)
    assert {r[0] for r in db.execute("select state from pgconductor.finished_executions")} == {"completed"}
    if then:
        keyed.slots(1)
        keyed.batch("tenant", payloads[:30])
        wait_empty(db, 20)


def test_in_another_queue(keyed, db):
    """Its keys are counted there, by themselves."""
    keyed.start(1, queue='concurrency = 30 } queue "other" { handler = "flow" concurrency = 30')
    keyed.declare("ordered", **FIFO)
    wait_for(lambda: value(db, "select '{other/ordered}' <@ serves from pgconductor.nodes"), 10, "both queues are served")
    value(db, "select pgconductor.invoke_batch('ordered', %s)", json.dumps(
        [{"payload": {"key": key, "n": n}, "queue": "other"} for n in range(10) for key in "ab"]))
    wait_empty(db, 20)
    keyed.exact()
    assert collections.Counter(keyed.runs()) == {(key, n): 1 for key in "ab" for n in range(10)}
