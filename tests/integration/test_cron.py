"""Schedules on running servers: what programs declare, what is scheduled at run time, and one execution for each tick
whatever is killed."""

import collections
import glob
import json
import os
import random
import subprocess
import time
from datetime import datetime, timedelta

import pytest

from support import paths
from support.wait import wait_for

PROGRAM = [paths.built("tests/support/cron_c")]
# A node that hears of nothing but its own clock and notifications would be late by so much.
CONFIG = 'poll_interval = "60s"\ntakeover_timeout = "2s"\n'


@pytest.fixture
def serve(server, ledger):
    """serve(triggers=None, env=None, crash=None, clock=None): a server with the program of tests/support/cron_c.c."""
    def start(triggers=None, env=None, crash=None, clock=None, **options):
        environment = {"LEDGER": ledger.path} | (env or {})
        if triggers is not None:
            environment["TRIGGERS"] = json.dumps(triggers)
        pairs = ", ".join(json.dumps(f"{k}={v}") for k, v in environment.items())
        return server(config=f'{CONFIG}handler "app" {{ command = "{PROGRAM[0]}" env = {{ {pairs} }} }}\n'
                             f'queue "default" {{ handler = "app" concurrency = 50 }}\n',
                      env=({"PGCONDUCTOR_CRASH": crash} if crash else {}) | (clock or {}), **options)
    return start


def schedules(db):
    return db.execute("select task, name, program, cron, enabled from pgconductor.schedules order by 1, 2").fetchall()


def ticks(ledger, name=None):
    """[event, at, payload] of each run of tick."""
    found = [e.rest.split("|", 2) for e in ledger.entries("tick")]
    return [f for f in found if name in (None, f[0])]


def invoke(db, task, payload):
    return db.execute("select pgconductor.invoke(%s, %s)", (task, json.dumps(payload))).fetchone()[0]


def result(db, execution):
    return wait_for(lambda: (row := db.execute("select state, result, error from pgconductor.result(%s)", (execution,)).fetchone())
                    and row[0] in ("completed", "failed") and row, 15, "it has finished")


def fake_now(db, text):
    db.execute("select pgconductor.fake_now(%s)", (text,))


def test_declared_by_a_program(serve, db, ledger):
    """Each second, on a node that has been idle, with the payload exactly as given; replaced by what the next version says."""
    began = db.execute("select now()").fetchone()[0]
    first = serve([{"invocable": True}, {"cron": "* * * * * *", "name": "second", "payload": {"a": 1, "b": "ü\u0001"}}])
    assert schedules(db) == [("tick", "second", "code:app", "* * * * * *", True)]
    wait_for(lambda: len(ticks(ledger)) >= 3, 15, "three seconds")
    seen = ticks(ledger, "second")
    moments = [datetime.fromisoformat(at.replace("Z", "+00:00")) for _, at, _ in seen]
    assert moments[0] > began and all(b - a == timedelta(seconds=1) for a, b in zip(moments, moments[1:]))
    assert json.loads(seen[0][2]) == {"a": 1, "b": "ü\u0001"}
    late = db.execute("select max(extract(epoch from created_at - event_at)) from pgconductor.executions_all").fetchone()[0]
    assert late < 5
    first.stop()
    # It survives the end of its program, and what is missed meanwhile for longer than a minute is not made up for.
    assert len(schedules(db)) == 1
    second = serve([{"cron": "0 0 1 1 *", "name": "year", "timezone": "Asia/Tokyo"}])
    assert schedules(db) == [("tick", "year", "code:app", "0 0 1 1 *", True)]
    second.stop()
    serve()
    assert schedules(db) == []


def test_a_trigger_that_is_none(serve, db):
    """It is told, and the task is served all the same."""
    one = serve([{"cron": "0 9 * * *", "name": "fine"}, {"cron": "0 9 32 * *", "name": "bad"}])
    one.wait_log(r"task tick: triggers\[1\]: cron: day of month: '32': not between 1 and 31")
    assert schedules(db) == []
    assert result(db, invoke(db, "tick", 1))[0] == "completed"


def test_at_run_time(serve, db, cli, ledger):
    """From the command line and C; a node that sleeps is told."""
    serve()
    fake_now(db, "2030-06-01 11:59:00+00")
    due = cli("schedule", "tick", "noon", "0 14 * * *", '{"x": 1}', "--timezone", "Europe/Berlin", check=True).stdout
    assert due == "2030-06-01 12:00:00+00\n"
    made = result(db, invoke(db, "plan", {"task": "tick", "name": "c", "cron": "5 12 * * *", "payload": "€\"\\", "overlap": "skip",
                                          "catchup": "last"}))
    assert made[:2] == ("completed", "2030-06-01T12:05:00.000Z")
    listed = [json.loads(line) for line in cli("schedules", "--json", check=True).stdout.splitlines()]
    assert [(s["name"], s["timezone"], s["payload"], s["overlap"], s["catchup"], s["source"]) for s in listed] == [
        ("c", "UTC", "€\"\\", "skip", "last", None), ("noon", "Europe/Berlin", {"x": 1}, "allow", "skip", None)]
    assert ticks(ledger) == []
    fake_now(db, "2030-06-01 11:59:59.5+00")
    wait_for(lambda: ticks(ledger) == [["noon", "2030-06-01T12:00:00.000Z", '{"x": 1}']], 15, "noon")
    shown = cli("show", str(ledger.entries("tick")[0].id), check=True).stdout
    assert "noon" in shown and "2030-06-01 12:00:00+00" in shown
    fake_now(db, "2030-06-01 12:05:00+00")
    wait_for(lambda: len(ticks(ledger)) == 2, 15, "five past")
    assert json.loads(ticks(ledger, "c")[0][2]) == "€\"\\"

    table = cli("schedules", "tick", check=True).stdout
    assert "2030-06-01 12:00:00" in table and "run time" in table and "on" in table
    assert cli("pause", "schedule", "tick", "noon", check=True).stdout == "tick noon paused\n"
    assert "paused" in cli("schedules", check=True).stdout
    assert cli("resume", "schedule", "tick", "noon", check=True).stdout == "tick noon resumed\n"
    assert result(db, invoke(db, "plan", {"task": "tick", "name": "c"}))[1] is True
    assert result(db, invoke(db, "plan", {"task": "tick", "name": "c"}))[1] is False
    assert cli("unschedule", "tick", "noon", check=True).stdout == "tick noon removed\n"
    assert schedules(db) == []
    # Back: the clock shows noon once more.
    cli("schedule", "tick", "noon", "0 12 * * *", check=True)
    fake_now(db, "2030-06-01 11:59:59.5+00")
    wait_for(lambda: len(ticks(ledger, "noon")) == 2, 15, "noon, again")


def test_refusals(serve, db, cli):
    serve([{"cron": "@daily", "name": "mine"}])
    done = cli("unschedule", "tick", "mine")
    assert done.returncode == 65 and "'mine' of tick is declared by code:app" in done.stderr
    assert cli("unschedule", "tick", "none").returncode == cli("pause", "schedule", "tick", "none").returncode == 1
    done = cli("schedule", "tick", "x", "61 * * * *")
    assert done.returncode == 65 and "cron: minute: '61': not between 0 and 59" in done.stderr
    assert cli("schedule", "tick", "x", "*", "*", "*", "*", "*").returncode == cli("schedule", "tick").returncode == 64
    assert cli("pause").returncode == cli("pause", "table", "x").returncode == 64
    assert cli("pause", "queue", "x").returncode == 1
    for given, why in (({"task": "tick", "name": "x", "cron": "* * *"}, "5 fields are needed"),
                       ({"task": "none", "name": "x", "cron": "@daily"}, "was never declared"),
                       ({"task": "tick", "name": "x", "cron": "@daily", "timezone": "No/Where"}, "no such time zone"),
                       ({"task": "tick", "name": "mine"}, "is declared by code:app")):
        state, answer, _ = result(db, invoke(db, "plan", given))
        assert state == "completed" and why in answer
    assert len(schedules(db)) == 1


def test_commands(server, db):
    """One-shot commands are told by the environment; ctx schedules."""
    server(config=f"""{CONFIG}
        task "say" {{ exec = "echo $PGCONDUCTOR_EVENT_KIND $PGCONDUCTOR_EVENT $PGCONDUCTOR_EVENT_AT" }}
        task "plan" {{ exec = "pgconductor ctx schedule say often '* * * * * *' --overlap skip" }}
        task "end" {{ exec = "exec 2>&1; pgconductor ctx unschedule say often" }}
        task "bad" {{ exec = "pgconductor ctx schedule say often '* * * * * * *'" max_attempts = 1 }}
    """)
    assert result(db, invoke(db, "say", None))[1] == "invoke pgconductor.invoke"
    planned = result(db, invoke(db, "plan", None))[1]
    first = wait_for(lambda: db.execute("select id from pgconductor.executions_all where event = 'often' order by id limit 1")
                     .fetchone(), 15, "often")[0]
    assert result(db, first)[1] == f"schedule often {planned}"
    assert result(db, invoke(db, "end", None))[1] is True
    state, _, error = result(db, invoke(db, "bad", None))
    assert state == "failed" and "5 fields are needed" in json.dumps(error)


def test_overlap(serve, db, ledger):
    """A tick whose predecessor still runs is left out."""
    serve([{"cron": "* * * * * *", "name": "slow", "overlap": "skip"}], env={"TICK_MS": "1100"})
    wait_for(lambda: len(ticks(ledger, "slow")) >= 2, 30, "two")
    moments = [datetime.fromisoformat(at.replace("Z", "+00:00")) for _, at, _ in ticks(ledger, "slow")]
    assert all(b - a >= timedelta(seconds=2) for a, b in zip(moments, moments[1:]))


def moments_of(db):
    """Schedule -> the ticks that executions were made for."""
    found = collections.defaultdict(list)
    for name, at in db.execute("select event, event_at from pgconductor.executions_all where event is not null order by 2").fetchall():
        found[name].append(at)
    return found


class Clock:
    """A host's clock that jumps: in env what a server on that host has in its environment."""

    def __init__(self, directory):
        self.path = f"{directory}/clock"
        library = glob.glob("/usr/lib*/*/faketime/libfaketime.so.1") + glob.glob("/usr/lib*/faketime/libfaketime.so.1")
        self.env = {"LD_PRELOAD": library[0], "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_NO_CACHE": "1",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        with open(paths.PGCONDUCTOR, "rb") as file:
            # A sanitizer must be the first library.
            if b"__asan_init" in file.read():
                self.env = {}

        self.jump("+400d")
        shown = int(subprocess.run(["date", "+%s"], env=os.environ | self.env, stdout=subprocess.PIPE, check=True).stdout)
        assert not self.env or shown > time.time() + 399 * 86400

    def jump(self, to):
        with open(f"{self.path}.new", "w", encoding="ascii") as file:
            file.write(to + "\n")
        os.replace(f"{self.path}.new", self.path)


def test_each_tick_once(serve, db, ledger, short_tmp, seed, scale):
    """Three nodes, of which one after the other is killed, also between asking and hearing, and whose clocks jump by days:
    one execution for each tick, and all of them are run."""
    dice = random.Random(seed)
    clock = Clock(short_tmp)
    names = [f"s{n}" for n in range(20)]

    def start():
        point = dice.choice([None, "schedule_sent", "schedule_fired"])
        return serve(crash=point and f"{point}:{dice.randint(2, 8)}", clock=dice.choice([None, clock.env]), wait=False)
    nodes = [start() for _ in range(3)]
    wait_for(lambda: db.execute("select count(*) from pgconductor.tasks").fetchone()[0] == 2, 15, "the tasks are declared")
    db.execute("select pgconductor.schedule('tick', n, '* * * * * *') from unnest(%s::text[]) n", (names,))
    end, kills = time.monotonic() + scale(6, 120), 0
    while time.monotonic() < end:
        pause = time.monotonic() + dice.uniform(0.3, 1.2)
        clock.jump(dice.choice(["+400d", "-3d", "+1h", "-20y", "+0"]))
        wait_for(lambda: time.monotonic() > pause or any(not n.running() for n in nodes), 5, "the next kill")
        for node in [n for n in nodes if not n.running()] or [dice.choice(nodes)]:
            node.kill9()
            kills += 1
            nodes[nodes.index(node)] = start()
    db.execute("select pgconductor.unschedule('tick', n) from unnest(%s::text[]) n", (names,))
    nodes += [serve()]
    wait_for(lambda: db.execute("select count(*) from pgconductor.executions").fetchone()[0] == 0, 60, "all have finished")
    made = moments_of(db)
    assert kills >= 3 and sorted(made) == sorted(names)
    for name, moments in made.items():
        assert len(moments) >= scale(4, 100)
        assert [b - a for a, b in zip(moments, moments[1:])] == [timedelta(seconds=1)] * (len(moments) - 1), name
    assert len(ledger.counts("tick")) == sum(map(len, made.values()))


def test_many_at_once(serve, db, ledger, scale):
    """All due in one second: an execution of each within 5 s, and none twice."""
    n = scale(1000, 10000)
    serve()
    serve()
    fake_now(db, "2030-06-01 11:50:00+00")
    db.execute("select pgconductor.schedule('tick', 's' || n, '0 12 * * *') from generate_series(1, %s) n", (n,))
    fake_now(db, "2030-06-01 11:59:59+00")
    wait_for(lambda: len(ledger.entries("tick")) >= n, 60, "all have run")
    made = db.execute("select count(*), count(distinct event), max(created_at - event_at) from pgconductor.executions_all"
                      " where event_at = '2030-06-01 12:00+00'").fetchone()
    assert made[:2] == (n, n) and made[2] < timedelta(seconds=5)
