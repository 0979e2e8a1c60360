"""A handler in plain Python that saves a step in a transaction of its own, for test_durable_transactions.py.

pay   {"faults", "seed", "gate"}: unless its step is saved, writes a row of `business` and the step in one transaction, and
      returns what the step says. In the first so many attempts something happens around the COMMIT, see WAYS. At a gate
      (begun: before the transaction; saved: before its COMMIT) it enters "at" and waits for the file TX_DIRECTORY/go-TOKEN.

What happens is entered in the ledger before it does: "way"; "refused" with the SQLSTATE, "paid" once COMMIT was answered.
"""

import json
import os
import random
import signal
import socket
import struct
import sys
import time
import uuid

import psycopg

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.handler import Fail, Handler, RawJSON  # noqa: E402
from support.ledger import append  # noqa: E402

COMMIT = struct.pack(">cI", b"Q", 11) + b"commit\0"
# The process dies, or the connection is cut: before COMMIT is sent, when half of it is, when all of it is, a moment later,
# or when it is answered.
WAYS = [(what, when) for what in ("die", "cut") for when in ("before", "half", "sent", "soon", "answered")]
h = Handler(capabilities=["cancel", "step"])
connection = None


def connected():
    global connection
    if connection is None or connection.closed:
        connection = psycopg.connect(os.environ["TX_DSN"])
    return connection


def end(run, what, conn):
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    with socket.socket(fileno=os.dup(conn.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)
    conn.close()
    raise Fail("the connection was lost at COMMIT")


def commit(run, conn, dice):
    if run.attempt > run.payload.get("faults", 0):
        conn.commit()
        return
    what, when = dice.choice(WAYS)
    append(os.environ["LEDGER"], "way", run.id, run.attempt, f"{what} {when}")
    if when == "answered":
        conn.commit()
    elif when != "before":
        os.write(conn.fileno(), COMMIT[:6] if when == "half" else COMMIT)
    if when == "soon":
        time.sleep(dice.random() * 0.002)
    end(run, what, conn)


def gate(run, name):
    if run.payload.get("gate") != name:
        return
    token = run.fields["token"]
    append(os.environ["LEDGER"], "at", run.id, run.attempt, token)
    while not os.path.exists(f"{os.environ['TX_DIRECTORY']}/go-{token}"):
        time.sleep(0.005)


@h.task("pay", max_attempts=100, backoff="1ms")
def pay(run):
    for step in run.fields.get("steps") or []:
        if step["key"] == "pay":
            return RawJSON(step["result"])
    mark = str(uuid.uuid4())
    gate(run, "begun")
    conn = connected()
    try:
        conn.execute("insert into business values (%s, %s)", (run.id, mark))
        conn.execute("select pgconductor.save_step(%s, %s, 'pay', %s::json)", (run.id, run.fields["token"], json.dumps(mark)))
        gate(run, "saved")
        commit(run, conn, random.Random(f"{run.payload.get('seed')} {run.id} {run.attempt}"))
    except psycopg.Error as error:
        conn.rollback()
        append(os.environ["LEDGER"], "refused", run.id, run.attempt, f"{error.sqlstate} {run.fields['token']}")
        raise Fail(str(error)) from error
    append(os.environ["LEDGER"], "paid", run.id, run.attempt, run.fields["token"])
    return mark


h.serve()
