"""Steps that are saved in a transaction of the handler's own: what else it writes there is done once, whatever dies.

The handler is tests/support/transaction_handler.py: the protocol, a connection of its own, and save_step().
"""

import collections
import os
import signal
import sys

import psycopg
import pytest

from support import faults, paths
from support.engine import batch, invoke, result, value
from support.wait import wait_for

PROGRAM = f"{paths.SRC}/tests/support/transaction_handler.py"


@pytest.fixture
def start(server, db, ledger, short_tmp, cluster):
    """Nodes whose handler may do what a client of pgconductor may, and write to `business`."""
    db.execute("create table business (execution bigint not null, mark text not null)")
    db.execute("create role shop login in role pgconductor_client")
    db.execute("grant insert on business to shop")
    dsn = cluster.dsn(db.info.dbname, user="shop")

    def one(processes=3, **options):
        env = ", ".join(f'"{name}={text}"' for name, text in
                        {"LEDGER": ledger.path, "TX_DSN": dsn, "TX_DIRECTORY": short_tmp}.items())
        config = (f'takeover_timeout = "1s"\nhandler "shop" {{ command = {{ "{sys.executable}", "{PROGRAM}" }} env = {{ {env} }} }}\n'
                  f'queue "default" {{ handler = "shop" processes = {processes} concurrency = {processes} }}\n')
        return server(config=config, **options)
    yield one
    db.execute("revoke all on business from shop")
    db.execute("drop role shop")


def assert_each_paid_once(db, ids):
    """Each has completed, has one row, and its step and its result say the same as that row."""
    rows = db.execute("select f.id, f.result #>> '{}', s.result #>> '{}', b.marks"
                      " from pgconductor.finished_executions f, pgconductor.execution_steps(f.id) s,"
                      " lateral (select array_agg(mark) as marks from business where execution = f.id) b"
                      " where f.state = 'completed' and s.key = 'pay'").fetchall()
    assert sorted(row[0] for row in rows) == sorted(ids)
    wrong = [row for row in rows if row[3] != [row[1]] or row[1] != row[2]]
    assert not wrong, wrong[:3]
    assert value(db, "select count(*) from business") == len(ids)


def test_the_process_or_its_connection_ends_around_the_commit(start, db, ledger, seed, scale, capsys):
    wanted, ids = scale(25, 1000), []
    start()
    while len(ledger.entries("way")) < wanted:
        ids += batch(db, "pay", n := scale(10, 50), '{"payload": {"faults": 4, "seed": %d}}' % seed)
        wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions") == len(ids), 20 + n,
                 "all have finished", poll=0.05)
    assert_each_paid_once(db, ids)
    ways = collections.Counter(e.rest for e in ledger.entries("way"))
    # Whose COMMIT was not heard of did not pay again.
    codes = collections.Counter(e.rest.split()[0] for e in ledger.entries("refused"))
    assert not codes, codes
    assert scale(True, len(ways) == 10), ways
    faults.say(capsys, seed, f"{len(ids)} executions, {sum(ways.values())} times: {dict(sorted(ways.items()))}")


class Gate:
    """Runs that wait at one, by their tokens, in order."""

    def __init__(self, ledger, directory, execution):
        self.ledger, self.directory, self.execution = ledger, directory, execution

    def wait(self, number):
        """The token of the run with this number."""
        def there():
            tokens = [e.rest for e in self.ledger.entries("at", self.execution)]
            return tokens[number - 1] if len(tokens) >= number else None
        return wait_for(there, 30, f"run {number} is at the gate")

    def open(self, token):
        open(f"{self.directory}/go-{token}", "w", encoding="ascii").close()

    def refused(self, token):
        """With what the transaction of a run was refused."""
        found = [e.rest.split()[0] for e in self.ledger.entries("refused", self.execution) if e.rest.endswith(token)]
        return found[0] if found else None

    def paid(self, token):
        return [e for e in self.ledger.entries("paid", self.execution) if e.rest == token]


@pytest.fixture
def zombie(start, db, ledger, short_tmp):
    """zombie(gate): an execution, and two runs of it that wait at that gate: of a node that is no more heard of, and of
    the one that has taken over from it."""
    stopped = []

    def make(gate):
        former = start(processes=1)
        job = invoke(db, "pay", f'{{"gate": "{gate}"}}')
        at = Gate(ledger, short_tmp, job)
        first = at.wait(1)
        # Its handler goes on.
        for pid in (former.worker(), former.pid):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        start(processes=1)
        return job, at, first
    yield make
    # It would first have to learn what it has lost.
    for pid in stopped:
        os.kill(pid, signal.SIGKILL)


def completed(db, job):
    wait_for(lambda: (result(db, job) or [None])[0] == "completed", 20, "it has completed")


def test_a_former_run_comes_too_late(zombie, db):
    job, at, former = zombie("begun")
    present = at.wait(2)
    assert present != former
    at.open(present)
    completed(db, job)
    at.open(former)
    assert wait_for(lambda: at.refused(former), 10, "it is refused") == "PC010"
    assert_each_paid_once(db, [job])


def test_a_former_run_comes_while_the_present_one_runs(zombie, db):
    """Nobody has paid yet; but it is not its turn any more."""
    job, at, former = zombie("begun")
    present = at.wait(2)
    at.open(former)
    assert wait_for(lambda: at.refused(former), 10, "it is refused") == "PC010"
    at.open(present)
    completed(db, job)
    assert at.paid(present)
    assert_each_paid_once(db, [job])


def test_a_former_run_commits_first(zombie, db):
    """It had saved its step, and not committed, when its node was given up: the present run waits for it, and rolls back."""
    job, at, former = zombie("saved")
    wait_for(lambda: value(db, "select count(*) from pg_stat_activity where usename = 'shop' and wait_event_type = 'Lock'") == 1,
             30, "the present run waits for the former one's transaction")
    at.open(former)
    completed(db, job)
    assert at.paid(former)
    refused = [e.rest.split()[0] for e in at.ledger.entries("refused", job)]
    assert refused == ["PC011"]
    assert_each_paid_once(db, [job])


def test_a_cancelled_one_pays_nothing(start, db, ledger, short_tmp):
    """Neither does the run that still goes on; the one after a retry does."""
    start(processes=2)
    job = invoke(db, "pay", '{"gate": "begun"}')
    at = Gate(ledger, short_tmp, job)
    former = at.wait(1)
    assert value(db, "select pgconductor.cancel(%s)", job)
    db.execute("select pgconductor.retry(%s)", (job,))
    at.open(former)
    assert wait_for(lambda: at.refused(former), 10, "it is refused") == "PC010"
    assert value(db, "select count(*) from business") == 0
    at.open(at.wait(2))
    completed(db, job)
    assert_each_paid_once(db, [job])


def test_what_was_refused_left_nothing(start, db):
    """A key that is not there to save under, a token that is none: the row goes with the step."""
    start()
    job = invoke(db, "pay", '{"gate": "never"}')
    completed(db, job)
    with psycopg.connect(db.info.dsn, autocommit=True) as conn:
        for token in ("", "1.2.3", "nonsense"):
            with pytest.raises(psycopg.Error) as caught, conn.transaction():
                conn.execute("insert into business values (%s, 'again')", (job,))
                conn.execute("select pgconductor.save_step(%s, %s, 'pay')", (job, token))
            assert caught.value.sqlstate == "PC010"
    assert_each_paid_once(db, [job])
