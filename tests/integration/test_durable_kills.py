"""Workflows of 20 steps, 3 sleeps and 5 children in two queues, on two nodes, while every kind of process is killed: at
random, and masters at every named point. No step that a handler was told of as saved is done again, all of them finish,
their results are right, and each child counts once.
"""

import time

import psycopg

from support import faults
from support.durable import POINTS, assert_no_acknowledged_step_again, config, has_crash_points
from support.engine import batch, value
from support.fleet import KINDS, Fleet
from support.wait import wait_for

RESULT = sum(range(20)) + sum(1000 * i for i in range(1, 6))
# Kills cost attempts, and there are many.
OPTIONS = '{"backoff": "1ms", "max_attempts": 1000}'


def test_workflows_survive_kills(own_cluster, server, ledger, seed, scale, capsys):
    n, began = scale(40, 1000), time.monotonic()
    served = config(ledger, processes=4, options=OPTIONS, queues=("default", "other"), credit=3, top='takeover_timeout = "2s"')
    fleet = Fleet(own_cluster(), server, served, seed, POINTS)
    wait_for(lambda: fleet.ask("select count(*) from pgconductor.tasks where name in ('flow', 'leaf', 'far')") == 3, 30,
             "the tasks are declared")
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        ids = batch(conn, "flow", n, '{"payload": null}')
    done = "select count(*) from pgconductor.finished_executions where id = any (%s)"

    def enough():
        fleet.raise_the_dead()
        if fleet.dice.random() < 0.5:
            fleet.kill_next()
        kinds = set(KINDS) - set(fleet.kills) or has_crash_points() and scale(set(), set(POINTS) - set(fleet.hit))
        return not kinds and (fleet.ask(done, ids) or 0) >= n * 2 // 3
    wait_for(enough, scale(120, 1500), "most have finished", poll=0.3)
    fleet.peace()
    wait_for(lambda: fleet.ask("select count(*) from pgconductor.executions") == 0, scale(120, 600), "all have finished", poll=0.1)
    check(fleet, ids)
    assert_no_acknowledged_step_again(ledger)
    faults.say(capsys, seed, f"{n} workflows, {time.monotonic() - began:.0f} s, kills: {dict(fleet.kills)},"
                             f" masters that died at a point: {dict(fleet.hit)}")


def check(fleet, ids):
    """Each workflow has ended once, with the sum of all of its steps and children."""
    with psycopg.connect(fleet.dsn, autocommit=True) as conn:
        rows = conn.execute("select id, state, result, error from pgconductor.finished_executions where id = any (%s)",
                            (ids,)).fetchall()
        assert sorted(row[0] for row in rows) == sorted(ids)
        wrong = [row for row in rows if row[1:3] != ("completed", RESULT)]
        assert not wrong, wrong[:3]
        of = conn.execute("select parent, count(*) from pgconductor.finished_executions"
                          " where parent is not null and state = 'completed' group by 1").fetchall()
        assert sorted(of) == [(i, 5) for i in sorted(ids)]
        for table in ("steps", "wakes", "running"):
            wait_for(lambda: value(conn, f"select count(*) from pgconductor.{table}") == 0, 10, f"{table} is empty")
