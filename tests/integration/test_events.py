"""Events on running servers: what programs subscribe to, what executions wait for, and each event once for each of them,
whatever is killed. What SQL alone does with transactions held open is in test_sql_events.py."""

import itertools
import json
import os
import random
import threading

import psycopg
import pytest

from support import paths
from support.durable import has_crash_points
from support.engine import batch, value, wait_finished
from support.wait import wait_for

PROGRAM = paths.built("tests/support/events_c")
# A node that nobody tells would be late by so much.
CONFIG = 'poll_interval = "60s"\ntakeover_timeout = "4s"\n'


@pytest.fixture
def serve(server, ledger):
    """serve(triggers=None, crash=None): a server with the program of tests/support/events_c.c."""
    def start(triggers=None, crash=None, more="", **options):
        environment = {"LEDGER": ledger.path}
        if triggers is not None:
            environment["TRIGGERS"] = json.dumps(triggers)
        pairs = ", ".join(json.dumps(f"{k}={v}") for k, v in environment.items())
        return server(config=f'{CONFIG}handler "app" {{ command = "{PROGRAM}" env = {{ {pairs} }} }}\n'
                             f'queue "default" {{ handler = "app" concurrency = 50 processes = 4 }}\n{more}',
                      env={"PGCONDUCTOR_CRASH": crash} if crash else {}, **options)
    return start


def emit(db, event, payload=None):
    return value(db, "select pgconductor.emit(%s, %s::text)", event, json.dumps(payload))


def subscribed(db, n=1):
    wait_for(lambda: value(db, "select count(*) from pgconductor.subscriptions") == n, 20, "the program has subscribed")


def asleep(db):
    """All nodes are; nobody else holds these locks alone."""
    wait_for(lambda: value(db, "select count(*) filter (where l.granted) >= (select count(*) from pgconductor.live_nodes())"
                               " from pg_locks l where l.classid = 1346847491 and l.mode = 'ExclusiveLock'"), 20, "all nodes sleep")


def wait_for_events(db, *waits, **more):
    return value(db, "select pgconductor.invoke('wait', %s)", json.dumps({"waits": waits} | more))


def suspended(db, *ids):
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions where id = any (%s) and waiting = 'suspended'",
                           list(ids)) == len(ids), 20, "they wait")


def seen(ledger):
    """[event, at, payload] of each run of seen."""
    return [e.rest.split("|", 2) for e in ledger.entries("seen")]


def test_an_event_starts_a_task(serve, db, ledger, cli):
    """On a node that sleeps, at once; as the command line and SQL say it."""
    serve([{"event": "order.paid", "when": "(payload->>'n')::int > 1", "fields": "n,who.name"}, {"event": "other"}])
    subscribed(db, 2)
    asleep(db)
    done = cli("emit", "order.paid", '{"n": 2, "who": {"name": "x", "age": 3}}')
    assert done.returncode == 0 and done.stdout.strip().isdigit(), done
    wait_for(lambda: len(seen(ledger)) == 1, 10, "it was started")
    at = value(db, "select to_char(created_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') from pgconductor.events")
    assert seen(ledger) == [["order.paid", at, '{"n":2,"who":{"name":"x"}}']]
    asleep(db)
    assert cli("emit", "order.paid", '{"n": 1}').returncode == 0
    assert cli("emit", "other").returncode == 0
    wait_for(lambda: len(seen(ledger)) == 2, 10, "the other was started")
    assert seen(ledger)[1][::2] == ["other", "null"]
    refused = cli("emit", "a b", "1")
    assert refused.returncode == 65 and "is not an event's name" in refused.stderr
    assert cli("emit", "x", "{").returncode == 65 and cli("emit").returncode == 64


def test_waiting(serve, db):
    """An execution resumes at once, though its node sleeps; with a payload, or too late; one of several, or all."""
    serve()
    one = wait_for_events(db, {"event": "e", "filter": "payload->>'id' = '7'"})
    every = wait_for_events(db, {"event": "e", "key": "a"}, {"event": "f", "key": "b"})
    some = wait_for_events(db, {"event": "f"}, {"event": "never"}, any=True)
    late = wait_for_events(db, {"event": "never", "timeout_ms": 50})
    bad = wait_for_events(db, {"event": "e", "filter": "payload ->"})
    assert wait_finished(db, late)[1][0]["error"]["code"] == "timeout"
    assert wait_finished(db, bad)[1][0]["error"]["code"] == "bad_filter"
    suspended(db, one, every, some)
    asleep(db)
    emit(db, "e", {"id": 1})
    emit(db, "f", [1])
    assert wait_finished(db, every)[1] == [{"payload": {"id": 1}}, {"payload": [1]}]
    assert wait_finished(db, some)[1] == [{"payload": [1]}, None]
    suspended(db, one)
    asleep(db)
    emit(db, "e", {"id": 7})
    assert wait_finished(db, one)[1] == [{"payload": {"id": 7}}]


def test_waiting_since_the_start(serve, db):
    """Each event once, in order, whenever it was emitted."""
    db.execute("select pgconductor.declare_task('wait')")
    made = wait_for_events(db, {"event": "e", "since": "start", "key": "k"}, repeat=4)
    for n in range(3):
        emit(db, "e", n)
    serve()
    suspended(db, made)
    emit(db, "e", 3)
    assert wait_finished(db, made)[1] == [{"payload": 3}]
    steps = db.execute("select key, result from pgconductor.execution_steps(%s)", (made,)).fetchall()
    assert steps == [(f"k-{n}", n) for n in range(4)]


def test_a_thousand_executions_wake(serve, db):
    serve()
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name = 'wait'"), 20, "it is declared")
    ids = batch(db, "wait", 1000, '{"payload": {"waits": [{"event": "e"}]}}')
    wait_for(lambda: value(db, "select count(*) from pgconductor.event_waits") == 1000, 60, "they wait")
    emit(db, "e", "x")
    wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions where id = any (%s)"
                               " and state = 'completed' and result::text = '[{\"payload\":\"x\"}]'", ids) == 1000, 60, "all have gone on")
    assert value(db, "select count(*) from pgconductor.event_waits") == 0


def test_a_handler_emits(serve, db, ledger):
    """In a step; a process that ends before that is saved emits again."""
    serve([{"event": "e"}])
    subscribed(db)
    say = "select pgconductor.invoke('say', %s)"
    made = value(db, say, json.dumps({"event": "e", "payload": {"x": [1]}}))
    event = wait_finished(db, made)[1]
    assert value(db, "select payload::text from pgconductor.events where id = %s", int(event)) == '{"x": [1]}'
    wait_for(lambda: len(seen(ledger)) == 1, 10, "it was started")
    made = value(db, say, json.dumps({"event": "a b"}))
    assert "is not an event's name" in wait_finished(db, made)[1]["refused"]
    made = value(db, say, json.dumps({"event": "e", "payload": 2, "die": True}))
    wait_finished(db, made)
    assert value(db, "select count(*) from pgconductor.events where payload::text = '2'") == 2


def test_a_script_waits_and_emits(server, db, short_tmp):
    """ctx wait and ctx emit."""
    script = f"{short_tmp}/flow.sh"
    with open(script, "w", encoding="utf-8") as file:
        file.write("""#!/bin/sh
set -e
pgconductor ctx step said -- pgconductor ctx emit asked '{"of": "'"$PGCONDUCTOR_ID"'"}' >&2
answer=$(pgconductor ctx wait --event answered --when "payload->>'to' = '$PGCONDUCTOR_ID'" --since start --json)
pgconductor ctx wait late --event never --timeout 50ms || echo "[$?, $answer]"
""")
    os.chmod(script, 0o755)
    os.chmod(short_tmp, 0o755)
    server(config=f'{CONFIG}queue "default" {{ concurrency = 4 env = {{ "PATH={paths.BUILD}:{os.environ["PATH"]}" }} }}\n'
                  f'task "flow" {{ exec = "{script}" }}\n')
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name = 'flow'"), 20, "it is declared")
    made = value(db, "select pgconductor.invoke('flow')")
    wait_for(lambda: value(db, "select count(*) from pgconductor.events where key = 'asked' and payload->>'of' = %s", str(made)), 20,
             "it has asked")
    emit(db, "answered", {"to": "nobody"})
    emit(db, "answered", {"to": str(made)})
    assert wait_finished(db, made, timeout=20)[1] == [124, {"to": str(made)}]
    assert value(db, "select count(*) from pgconductor.events where key = 'asked'") == 1


def test_conditions_that_fail(serve, db, ledger):
    """One that raises and one that does not end hold up nothing else, and are told of."""
    node = serve([{"event": "e", "when": "(payload->>'n')::int = 1"}, {"event": "f", "when": "pg_sleep(3600) is null"},
                  {"event": "f"}])
    subscribed(db, 3)
    for n in ("x", 1):
        emit(db, "e", {"n": n})
    emit(db, "f", 5)
    wait_for(lambda: len(seen(ledger)) == 2, 30, "both were started")
    assert sorted(s[::2] for s in seen(ledger)) == [["e", '{"n": 1}'], ["f", "5"]]
    node.wait_log("task seen: trigger of event e: when: invalid input syntax")
    node.wait_log("task seen: trigger of event f: when: it takes too long")


def test_draining_dispatches(serve, db, ledger):
    """What was emitted before anybody was there to dispatch it."""
    serve([{"event": "e"}]).stop()
    emit(db, "e", 1)
    node = serve([{"event": "e"}], args=["--drain"], wait=False)
    assert node.wait_exit() == 0
    assert [s[2] for s in seen(ledger)] == ["1"]


def test_another_node_goes_on(serve, db, ledger, connect):
    """The dispatcher is killed while a transaction is open that has emitted; and one that stops leaves the role."""
    nodes = {}
    for _ in range(2):
        node = serve([{"event": "e"}])
        nodes[node.pid] = node
    late = connect(autocommit=False)
    emit(late, "e", 1)
    emit(db, "e", 2)
    wait_for(lambda: len(seen(ledger)) == 1, 20, "the later one was started")

    def dispatcher():
        pid = value(db, "select n.pid from pgconductor.dispatcher d join pgconductor.nodes n on n.id = d.node")
        return pid if pid in nodes else None
    first = dispatcher()
    nodes.pop(first).kill9()
    wait_for(dispatcher, 20, "the other one dispatches")
    late.commit()
    wait_for(lambda: len(seen(ledger)) == 2, 20, "the late one was started")
    assert [s[2] for s in seen(ledger)] == ["2", "1"]
    third = serve([{"event": "e"}])
    nodes.pop(dispatcher()).stop()
    nodes[third.pid] = third
    wait_for(lambda: dispatcher() == third.pid, 20, "the third one dispatches")
    emit(db, "e", 3)
    wait_for(lambda: len(seen(ledger)) == 3, 20, "the third one was started")


def test_each_event_once_whatever_is_killed(serve, db, dsn, ledger, seed, scale):
    """Two nodes that die at named points, or at any moment; several that emit in transactions of all lengths, some of which fail,
    and executions that wait meanwhile."""
    dice = random.Random(seed)
    n, emitters = scale(150, 3000), 3
    triggers = [{"event": "e"}, {"event": "e", "when": "(payload->>'n')::int % 2 = 0"}]
    nodes = [serve(triggers) for _ in range(2)]
    subscribed(db, 2)
    committed = [[] for _ in range(emitters)]

    def emits(which, own):
        with psycopg.connect(dsn) as conn:
            for i in itertools.count(which, emitters):
                if done.is_set() and i >= n:
                    break
                emit(conn, "e", {"n": i})
                own.append(i)
                if random.Random(f"{seed} {i}").random() < 0.3:
                    if random.Random(f"{seed} {i} fails").random() < 0.2:
                        conn.rollback()
                    else:
                        conn.commit()
                        committed[which] += own
                    own = []
                    pause.wait(0.15)
            conn.commit()
            committed[which] += own
    pause, done = threading.Event(), threading.Event()

    def dispatcher():
        pid = wait_for(lambda: value(db, "select n.pid from pgconductor.dispatcher d join pgconductor.nodes n on n.id = d.node"
                                         " where n.pid = any (%s)", [node.pid for node in nodes]), 30, "one of them dispatches")
        return [node.pid for node in nodes].index(pid)
    waits = [wait_for_events(db, {"event": "e", "filter": f"(payload->>'n')::int >= {n * 9 // 10}"}) for _ in range(20)]
    threads = [threading.Thread(target=emits, args=(i, [])) for i in range(emitters)]
    for thread in threads:
        thread.start()
    for point in dice.sample(["dispatch_sent:1", "dispatched:1", "dispatch_sent:7", "dispatched:7", None, None], scale(4, 6)):
        victim = dispatcher()
        nodes[victim].kill9()
        nodes[victim] = serve(triggers, crash=point if has_crash_points() else None, wait=False)
        nodes[1 - victim].kill9()
        if point and has_crash_points():
            # It dispatches now, and dies of that.
            wait_for(lambda: not nodes[victim].running(), 30, f"{point} was passed")
            nodes[victim] = serve(triggers, wait=False)
        nodes[1 - victim] = serve(triggers, wait=False)
    done.set()
    for thread in threads:
        thread.join(120)
    for i in range(2):
        nodes[i].kill9()
        nodes[i] = serve(triggers)
    suspended_or_done = "select count(*) from pgconductor.executions where id = any (%s) and ready_xid is not null"
    wait_for(lambda: value(db, suspended_or_done, waits) == 0, 30, "what waits does so, or is over")
    emit(db, "e", {"n": 1000000})
    wanted = sorted([*sum(committed, []), 1000000])

    def made():
        return [r[0] for r in db.execute("select (payload->>'n')::int from pgconductor.executions_all where task = 'seen'"
                                         " order by 1").fetchall()]
    wait_for(lambda: len(made()) >= len(wanted) + sum(i % 2 == 0 for i in wanted), 60, "all events have started something")
    assert made() == sorted([*wanted, *(i for i in wanted if i % 2 == 0)])
    for one in waits:
        assert wait_finished(db, one, timeout=30)[1][0]["payload"]["n"] >= n * 9 // 10
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions") == 0, 60, "all has run")
    assert {json.loads(s[2])["n"] for s in seen(ledger)} == set(wanted)
    assert value(db, "select count(*) from pgconductor.event_waits") == 0
