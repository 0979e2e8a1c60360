"""Limits of tasks: how many run at once, and how many begin, on all nodes together. What runs is shown by locks that the
handlers hold, see support/flow_handler.py; what holds while things are killed is in test_flow_kills."""

import collections
import json
import os
import time

import pytest

from support import processes
from support.engine import batch, invoke, node_of, result, value, wait_empty, wait_finished
from support.limits import Limited, most_at_once
from support.wait import wait_for

@pytest.fixture
def limited(server, db, ledger, short_tmp):
    return Limited(server, db, ledger, short_tmp, {"work": {"slot": 2}, "free": {}}, ("work", "slot"))


def own_shard(db, task="work", queue="default"):
    return value(db, "select id from pgconductor.shards where task = %s and queue = %s", task, queue)


def started(limited):
    return {run.id for run in limited.began("work")}


def test_no_more_than_may_run_at_once(limited, db):
    """On two nodes; and beside it what is not limited is not held up."""
    limited.start(2, limits={"work": "concurrency = 2"})
    ids = limited.many("work", 20, '{"ms": 30}')
    wait_for(lambda: limited.began("work"), 15, "they run")
    other = limited.many("free", 20, '{}')
    wait_for(lambda: {run.id for run in limited.began("free")} == set(other), 15, "the others have run")
    wait_empty(db, 30)
    assert limited.ledger.counts("start") == dict.fromkeys(ids + other, 1)
    limited.exact()
    assert len({run.node for run in limited.began("work")}) == 1, "one node has all of them"


def test_as_many_run_as_may(limited, db):
    limited.start(1, limits={"work": "concurrency = 2"})
    ids = limited.many("work", 3, '{"file": "go"}')
    wait_for(lambda: len(started(limited)) == 2, 10, "two of them run")
    # What is more urgent comes next, although others wait longer.
    urgent = invoke(db, "work", '{"file": "go"}', priority=5)
    later = limited.many("free", 1, '{}')
    wait_finished(db, later[0])
    assert len(started(limited)) == 2
    limited.go()
    wait_empty(db)
    assert [run.id for run in limited.began("work")][2:] == [urgent, ids[2]]
    limited.exact()


def test_what_is_invoked_otherwise_is_limited_too(limited, db):
    """Delayed, with a priority, in a batch with options, in another queue, by retry: each queue has its own count."""
    limited.start(1, limits={"work": "concurrency = 2"}, more='queue "other" { handler = "flow" concurrency = 30 }')
    wait_for(lambda: value(db, "select '{other/work}' <@ serves from pgconductor.nodes"), 10, "both queues are served")
    limited.slots(4)
    ids = [invoke(db, "work", '{"ms": 20}', delay="100 ms"), invoke(db, "work", '{"ms": 20}', priority=-3)]
    ids += batch(db, "work", 4, '{"payload": {"ms": 20}, "priority": 2}')
    ids += batch(db, "work", 6, '{"payload": {"ms": 20}, "queue": "other"}')
    wait_empty(db, 20)
    assert set(ids) == started(limited)
    again = value(db, "select pgconductor.retry(%s)", ids[0])
    assert again
    assert value(db, "select shard from pgconductor.executions where id = %s", ids[0]) in (own_shard(db), None)
    wait_empty(db)
    limited.exact()
    assert own_shard(db, queue="other")


@pytest.mark.parametrize("first, then", [(None, 2), (2, None), (2, 1)])
def test_a_limit_changes_under_load(limited, db, first, then):
    """Nothing is lost and nothing runs twice; once all nodes have heard of it, and what ran before has ended, it holds."""
    limited.slots(100)
    limited.start(2, queue="concurrency = 30 shards = 4")
    if first:
        db.execute("select pgconductor.declare_task('work', options => %s, source => 'set')",
                   (json.dumps({"concurrency": first}),))
    ids = limited.many("work", 150, '{"ms": 20}')
    wait_for(lambda: len(started(limited)) >= 20, 20, "they run")
    db.execute("select pgconductor.declare_task('work', options => %s, source => 'set')",
               (json.dumps({"concurrency": then} if then else {}),))
    if then and first is None:
        # Nothing of its own shard begins before everything from before has ended.
        before = len(limited.began("work", "end"))
        wait_for(lambda: value(db, "select bool_and(obeys is not null and pg_visible_in_snapshot(t.limited_xid, obeys))"
                                   " from pgconductor.nodes, pgconductor.tasks t where t.name = 'work'"), 20, "both obey")
        limited.slots(then)
        assert before < len(ids), "the load was over before the limit came"
    wait_empty(db, 40)
    assert limited.ledger.counts("start") + limited.ledger.counts("over") == dict.fromkeys(ids, 1)
    assert {r[0] for r in db.execute("select state from pgconductor.finished_executions")} == {"completed"}
    limited.exact()


def test_what_runs_is_waited_for_when_a_limit_comes(limited, db):
    """Of what was handed out before some goes on: the new limit begins behind it."""
    limited.slots(100)
    limited.start(2, queue="concurrency = 30 shards = 2")
    old = limited.many("work", 8, '{"file": "go"}')
    wait_for(lambda: started(limited) == set(old), 15, "they run")
    db.execute("select pgconductor.declare_task('work', options => '{\"concurrency\": 1}', source => 'set')")
    new = limited.many("work", 3, '{"ms": 10}')
    wait_for(lambda: value(db, "select owner from pgconductor.shards where task = 'work'"), 10, "it has an owner")
    other = limited.many("free", 4, '{}')
    for one in other:
        wait_finished(db, one)
    assert not started(limited) & set(new)
    limited.slots(1)
    # They hold what was slots 0 to 7.
    limited.go()
    wait_empty(db, 20)
    limited.exact()


def test_rate(limited, db):
    """In any time no more begin than the burst and what came in by then; and not many less."""
    limited.slots(100)
    limited.start(1, limits={"work": "rate_limit = 20 rate_period = 1s rate_burst = 3"})
    limited.many("work", 40, '{}')
    wait_empty(db, 30)
    runs = limited.began("work")
    assert most_at_once(runs, 20) <= 3 + 2
    assert (runs[-1].ns - runs[0].ns) / 1e9 < 10


def test_who_takes_over_has_no_tokens(limited, db):
    """Of the task or of its keys: what others let begin meanwhile is not known to it. Be it new, or have had them before."""
    limited.places["keyed"] = {}
    limited.slots(1000)
    rates = {"work": "rate_limit = 4 rate_period = 1s rate_burst = 100",
             "keyed": 'concurrency_key = "key" key_rate_limit = 4 key_rate_period = 1s key_rate_burst = 100'}

    def start():
        return limited.start(1, limits=rates, top='takeover_timeout = "1s"')

    def on(node, task):
        return sum(run.node == f"n{limited.up.index(node)}" for run in limited.began(task))

    def all_begin_on(node, more=1):
        before = {task: on(node, task) for task in rates}

        def look():
            for task in rates:
                # Fewer than would have gathered while the first one stood still.
                runs = limited.began(task)
                assert most_at_once(runs, 4) <= 1 + 4, "\n".join(f"{run.node} {(run.ns - runs[0].ns) // 1000000}" for run in runs)
            return all(on(node, task) >= before[task] + more for task in rates)
        wait_for(look, 20, f"they begin on n{limited.up.index(node)}")
    first = start()
    for task in rates:
        limited.many(task, 200, '{"key": "a"}')
    all_begin_on(first)
    second = start()
    first.pause()
    all_begin_on(second, 4)
    first.resume()
    assert second.stop() == 0
    all_begin_on(first)
    first.kill9()
    all_begin_on(start())


DAY = 'window = { "09:00", "17:00" }'


def clock(db, at):
    db.execute("select pgconductor.fake_now(%s)", (f"2026-03-04 {at}Z",))


def shown(db, cli, execution):
    return cli("show", str(execution), check=True).stdout


def test_a_window_opens(limited, db, cli):
    """What is ready before waits for it, and says so; what is not limited does not."""
    clock(db, "08:00")
    limited.start(2, limits={"work": DAY})
    one = invoke(db, "work", '{}')
    other = invoke(db, "free", '{}')
    wait_finished(db, other)
    assert "ready (window)" in shown(db, cli, one)
    assert not started(limited)
    # By itself: the node knows when.
    clock(db, "08:59:59")
    wait_finished(db, one)
    assert value(db, "select min(run_at) from pgconductor.finished_executions where id = %s", one) is not None
    clock(db, "17:00")
    for node in limited.up:
        node.wait_log("its window has closed", count=2)
    late = invoke(db, "work", '{}')
    wait_finished(db, invoke(db, "free", '{}'))
    assert result(db, late)[0] == "ready"


STEPS = """
for i in 1 2 3 4 5; do
    pgconductor ctx step s$i -- sh -c "echo s$i >>steps; echo 1" || exit
    [ $i != 2 ] || : >saved
    while [ $i = 2 ] && [ ! -e go ]; do sleep 0.05; done
done
echo end >>steps
"""
LOOP = """
echo begin >>loop
until [ -e done ]; do
    pgconductor ctx checkpoint || exit
    sleep 0.05
done
"""


def test_a_window_closes(limited, db, cli, short_tmp):
    """What runs stops behind its next step, or at a checkpoint, and goes on when the window opens: no attempt is lost, and no
    step done twice."""
    clock(db, "16:00")
    more = ""
    for name, text in (("steps", STEPS), ("loop", LOOP)):
        with open(f"{short_tmp}/{name}.sh", "w", encoding="ascii") as file:
            file.write(f"cd {short_tmp}\n{text}")
        more += f'task "{name}" {{ exec = "/bin/sh {short_tmp}/{name}.sh" max_attempts = 1 {DAY} }}\n'
    node = limited.start(1, more=more)

    def ready(execution):
        return value(db, "select ready_xid::text from pgconductor.executions where id = %s", execution)

    def lines(name):
        if not os.path.exists(f"{short_tmp}/{name}"):
            return []
        with open(f"{short_tmp}/{name}", encoding="ascii") as file:
            return file.read().split()
    steps, loop = invoke(db, "steps", "null"), invoke(db, "loop", "null")
    wait_for(lambda: os.path.exists(f"{short_tmp}/saved") and lines("loop") == ["begin"], 15, "both run")
    assert lines("steps") == ["s1", "s2"]
    begun = {one: ready(one) for one in (steps, loop)}
    clock(db, "17:00:01")
    wait_for(lambda: ready(loop) != begun[loop], 15, "it has stopped at a checkpoint")
    node.wait_log("task steps: its window has closed")
    open(f"{short_tmp}/go", "w", encoding="ascii").close()
    wait_for(lambda: ready(steps) != begun[steps], 15, "it has stopped behind a step")
    assert "ready (window)" in shown(db, cli, steps)
    assert lines("steps") == ["s1", "s2", "s3"]
    assert lines("loop") == ["begin"]
    open(f"{short_tmp}/done", "w", encoding="ascii").close()
    db.execute("select pgconductor.fake_now('2026-03-05 08:59:59Z')")
    for one in (steps, loop):
        wait_finished(db, one, timeout=20)
        assert value(db, "select attempt from pgconductor.finished_executions where id = %s", one) == 1
    assert lines("steps") == ["s1", "s2", "s3", "s4", "s5", "end"]
    assert lines("loop") == ["begin", "begin"]


def test_a_node_that_goes_hands_it_on(limited, db):
    first = limited.start(2, limits={"work": "concurrency = 2"})
    wait_for(lambda: own_shard(db) and value(db, "select owner from pgconductor.shards where task = 'work'"), 10, "it is owned")
    owner = value(db, "select owner from pgconductor.shards where task = 'work'")
    first = next(s for s in limited.up if node_of(db, s) == owner)
    ids = limited.many("work", 40, '{"ms": 50}')
    wait_for(lambda: len(started(limited)) >= 5, 15, "they run")
    assert first.stop() == 0
    wait_empty(db, 30)
    assert limited.ledger.counts("start") == dict.fromkeys(ids, 1)
    limited.exact()


def test_options_are_shown_with_their_source(limited, db, cli):
    limited.start(1, limits={"work": "concurrency = 2"})
    db.execute("select pgconductor.declare_task('work', options => '{\"rate_limit\": {\"limit\": 5}}', source => 'set')")
    options = json.loads(cli("tasks", "work", "--json", check=True).stdout)["options"]
    assert options["concurrency"] == {"value": 2, "source": "config"}
    assert options["rate_limit"] == {"value": {"limit": 5}, "source": "set"}


def test_who_lost_its_writer_stops_what_is_limited(limited, db, connect):
    """Its lock is somebody else's, so nobody else may begin before it has stopped; others go on."""
    limited.slots(1)
    node = limited.start(1, limits={"work": "concurrency = 1"})
    long = invoke(db, "work", '{"ms": 60000}')
    wait_for(lambda: started(limited) == {long}, 10, "it runs")
    shard = own_shard(db)
    thief = connect()
    thief.execute("begin")
    handlers = set(node.handlers())
    db.execute("select pg_terminate_backend(l.pid) from pgconductor.live_nodes() l")
    wait_for(lambda: value(thief, "select pg_try_advisory_lock(1346847490, %s)", shard), 5, "the lock is taken", poll=0.001)
    begun = time.monotonic()
    wait_for(lambda: not all(processes.alive(pid) for pid in handlers), 10, "what held it has ended")
    assert time.monotonic() - begun < 1.125 * 2 + 1
    assert result(db, long)[0] in ("running", "ready")
