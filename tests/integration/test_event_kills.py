"""Events on three nodes, while every kind of process is killed: at random, and masters at every named point. Each event that
was committed, and no other, makes one execution for each subscription, a thousand of them for some; those of a subscription
in the order in which the events were committed; and all that waits for an event wakes, a thousand at once.
"""

import collections
import itertools
import json
import random
import threading
import time

import psycopg
import pytest

from support import faults, paths
from support.durable import has_crash_points
from support.engine import batch, value
from support.fleet import KINDS, Fleet
from support.wait import wait_for

POINTS = ["dispatch_sent", "dispatched", "suspend_received", "suspend_committed", "wake_taken", "resume_written"]
WIDTH = 1000
PARTS = 10
# All of them; those with an even number, who say so; and what has a thousand subscriptions, each of which takes a part.
TRIGGERS = [{"event": "e", "fields": "n"}, {"event": "e", "when": "(payload->>'n')::int % 2 = 0", "fields": "n,even"},
            *({"event": "wide", "fields": f"k{i % PARTS},none{i}"} for i in range(WIDTH))]


def configuration(ledger):
    env = ", ".join(json.dumps(f"{k}={v}") for k, v in {"LEDGER": ledger.path, "TRIGGERS": json.dumps(TRIGGERS)}.items())
    return (f'poll_interval = "60s"\ntakeover_timeout = "2s"\n'
            f'handler "app" {{ command = "{paths.built("tests/support/events_c")}" env = {{ {env} }} }}\n'
            f'queue "default" {{ handler = "app" concurrency = 20 processes = 4 kill_grace = "2s" }}\n')


class Emitter(threading.Thread):
    """Emits one after another, in transactions of all lengths, some of which are rolled back, until it is told to stop.

    told: number -> (when it began to emit it, when it knew that it was committed). undone: those that it rolled back. One whose
    commit was not answered stands in neither.
    """

    def __init__(self, dsn, numbers, dice, pace):
        super().__init__(daemon=True)
        self.dsn, self.numbers, self.dice, self.pace = dsn, numbers, dice, pace
        self.told, self.undone = {}, set()
        self.stopping = threading.Event()
        self.error = None

    def run(self):
        conn = None
        while not self.stopping.wait(self.dice.random() * self.pace):
            try:
                if conn is None:
                    conn = psycopg.connect(self.dsn)
                self.emit(conn)
            except psycopg.OperationalError:
                if conn is not None:
                    conn.close()
                conn = None
            except Exception as error:  # shown by stop()
                self.error = error
                return

    def emit(self, conn):
        began = {}
        for _ in range(self.dice.choice((1, 1, 1, 3))):
            n = next(self.numbers)
            began[n] = time.monotonic()
            conn.execute("select pgconductor.emit('e', %s::text)", (json.dumps({"n": n, "even": n % 2 == 0}),))
            if self.dice.random() < 0.3:
                self.stopping.wait(self.dice.random() * 0.2)
        if self.dice.random() < 0.1:
            self.undone.update(began)
            conn.rollback()
        else:
            conn.commit()
            self.told |= {n: (at, time.monotonic()) for n, at in began.items()}

    def stop(self):
        self.stopping.set()
        self.join(60)
        assert not self.is_alive(), "it does not end"
        if self.error:
            raise self.error


def say(fleet, event, payload):
    """Emits it, however often PostgreSQL is killed meanwhile: once, or more often."""
    return wait_for(lambda: fleet.ask("select pgconductor.emit(%s, %s::text)", event, payload), 30, "it is emitted")


@pytest.fixture
def fleet(own_cluster, server, ledger, seed):
    one = Fleet(own_cluster(), server, configuration(ledger), seed, POINTS, nodes=3)
    wait_for(lambda: one.ask("select count(*) from pgconductor.subscriptions") == len(TRIGGERS), 30, "the program has subscribed")
    return one


def test_events_survive_kills(fleet, ledger, seed, scale, capsys):
    n, began = scale(200, 5000), time.monotonic()
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        # These take the first bell that is rung from now on; those the first one after they have begun to wait.
        early = batch(conn, "wait", 500, '{"payload": {"waits": [{"event": "bell", "since": "start"}]}}')
        late = batch(conn, "wait", 500, '{"payload": {"waits": [{"event": "bell"}]}}')
        says = batch(conn, "say", 20, '{"payload": {"event": "e", "payload": {"n": -1, "even": false}}}')
    numbers = itertools.count()
    emitters = [Emitter(fleet.dsn, numbers, random.Random(f"{seed} {i}"), scale(0.05, 0.1)) for i in range(3)]
    for one in emitters:
        one.start()
    wides = 0

    def enough():
        nonlocal wides
        fleet.raise_the_dead()
        if fleet.dice.random() < 0.7:
            fleet.kill_next()
        if wides < scale(2, 20) and sum(fleet.kills.values()) > 3 * wides:
            wides += 1
            say(fleet, "wide", json.dumps({f"k{i}": wides for i in range(PARTS)}))
            say(fleet, "bell", str(wides))
        kinds = set(KINDS) - set(fleet.kills) or has_crash_points() and scale(set(), set(POINTS) - set(fleet.hit))
        return not kinds and sum(len(one.told) for one in emitters) >= n
    wait_for(enough, scale(120, 1500), "enough was emitted, and everything killed", poll=0.2)
    for one in emitters:
        one.stop()
    fleet.peace()
    waits = "select count(*) from pgconductor.executions where task = 'wait' and waiting is distinct from 'suspended'"
    wait_for(lambda: fleet.ask(waits) == 0, scale(60, 120), "what waits does so, or is over")
    say(fleet, "bell", str(wides + 1))
    wait_for(lambda: fleet.ask("select not pgconductor.events_due() and not exists (select from pgconductor.executions)"),
             scale(120, 600), "all has run", poll=0.1)
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        events = check_events(conn, emitters)
        check_order(conn, emitters)
        check_waits(conn, early, late, wides + 1)
        check_says(conn, says)
        check_ledger(conn, ledger)
        for table in ("steps", "wakes", "running"):
            wait_for(lambda: value(conn, f"select count(*) from pgconductor.{table}") == 0, 10, f"{table} is empty")
    faults.say(capsys, seed, f"{events} events, {time.monotonic() - began:.0f} s, kills: {dict(fleet.kills)},"
                             f" masters that died at a point: {dict(fleet.hit)}")


def check_events(conn, emitters):
    """What was emitted was committed, and has made its executions: each once. Returns how many events there are."""
    events = conn.execute("select key, payload from pgconductor.events where key in ('e', 'wide') order by id").fetchall()
    numbers = collections.Counter(payload["n"] for key, payload in events if key == "e")
    told, undone = set().union(*(one.told for one in emitters)), set().union(*(one.undone for one in emitters))
    assert not told - set(numbers), f"committed, and not there: {sorted(told - set(numbers))[:10]}"
    assert not undone & set(numbers), f"rolled back, and there: {sorted(undone & set(numbers))[:10]}"
    expected = collections.Counter({("n", n): count for n, count in numbers.items()})
    expected.update({("even", n): count for n, count in numbers.items() if n % 2 == 0})
    for payload in (payload for key, payload in events if key == "wide"):
        expected.update({(part, n): WIDTH // PARTS for part, n in payload.items()})
    made = collections.Counter()
    for event, payload in conn.execute("select event, payload from pgconductor.finished_executions where task = 'seen'"):
        if event == "wide":
            made.update(payload.items())
        else:
            made["even" if "even" in payload else "n", payload["n"]] += 1
    assert made == expected, f"missing {list((expected - made).items())[:10]}, too many {list((made - expected).items())[:10]}"
    assert value(conn, "select count(*) from pgconductor.finished_executions where state <> 'completed'") == 0
    return len(events)


def check_order(conn, emitters):
    """What was committed before another one was emitted comes before it."""
    told = {n: times for one in emitters for n, times in one.told.items()}
    for even in (False, True):
        rows = conn.execute("select (payload->>'n')::int from pgconductor.finished_executions where task = 'seen' and event = 'e'"
                            " and (payload->'even' is not null) = %s order by id", (even,)).fetchall()
        latest = (0, None)
        for n in [row[0] for row in rows if row[0] in told]:
            began, committed = told[n]
            assert committed >= latest[0], f"{n} was committed before {latest[1]} was emitted, and comes after it"
            latest = max(latest, (began, n))


def check_waits(conn, early, late, bells):
    """Each has woken, with the first bell that counts for it."""
    rows = conn.execute("select id, state, result from pgconductor.finished_executions where task = 'wait'").fetchall()
    assert sorted(row[0] for row in rows) == sorted(early + late)
    assert {row[1] for row in rows} == {"completed"}
    heard = {row[0]: row[2][0]["payload"] for row in rows}
    assert {heard[i] for i in early} == {1}
    assert {heard[i] for i in late} <= set(range(1, bells + 1))


def check_says(conn, says):
    """What a handler says it has emitted is there."""
    rows = conn.execute("select f.result, e.key from pgconductor.finished_executions f"
                        " left join pgconductor.events e on e.id = (f.result #>> '{}')::bigint where f.id = any (%s)", (says,)).fetchall()
    assert len(rows) == len(says) and {row[1] for row in rows} == {"e"}, rows


def check_ledger(conn, ledger):
    """All that is finished was run, and nothing else was."""
    ran = {entry.id for entry in ledger.entries("seen")}
    made = {row[0] for row in conn.execute("select id from pgconductor.finished_executions where task = 'seen'")}
    assert ran == made, f"not run: {sorted(made - ran)[:10]}, not made: {sorted(ran - made)[:10]}"
