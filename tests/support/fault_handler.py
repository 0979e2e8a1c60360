"""The handler of the fault tests: writes down outside the database when each run starts and ends.

FAULT_LEDGER names the ledger, FAULT_NODE the node, FAULT_CONCURRENCY how many runs at once. An entry's rest is
"node worker-pid run": run is a name made for each start, so that an end belongs to one start, and the result that
PostgreSQL stores names the run it came from.
"""

import os
import secrets
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from support.handler import Fail, Handler, RawJSON  # noqa: E402
from support.ledger import append  # noqa: E402

LEDGER = os.environ.get("FAULT_LEDGER", "/dev/null")
NODE = os.environ.get("FAULT_NODE", "-")
CONCURRENCY = int(os.environ.get("FAULT_CONCURRENCY", "8"))
# Some more than run at once, so that there are always some which were sent and not started.
handler = Handler(credit=CONCURRENCY + 2, concurrency=CONCURRENCY)
WORKER = os.getppid()


def start(run):
    name = secrets.token_hex(6)
    append(LEDGER, "start", run.id, run.attempt, f"{NODE} {WORKER} {name}")
    return name


def end(run, name, kind="end"):
    append(LEDGER, kind, run.id, run.attempt, f"{NODE} {WORKER} {name}")


def master():
    with open(f"/proc/{WORKER}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])


@handler.task("work")
def work(run):
    """{"ms": how long, "until": and until this file exists, "fails": so many attempts fail, "fill": size of a string in the result}"""
    name = start(run)
    payload = run.payload
    time.sleep(payload.get("ms", 0) / 1000)
    while "until" in payload and not os.path.exists(payload["until"]):
        time.sleep(0.01)
    if run.attempt <= payload.get("fails", 0):
        end(run, name, "fail")
        raise Fail("as it was told to")
    end(run, name)
    return {"run": name, "fill": "x" * payload.get("fill", 0)}


@handler.task("kill_node")
def kill_node(run):
    """Ends its own master, after some milliseconds."""
    start(run)
    time.sleep(run.payload.get("ms", 0) / 1000)
    os.kill(master(), signal.SIGKILL)
    time.sleep(60)


@handler.task("echo")
def echo(run):
    """The payload as the result, as it came."""
    return RawJSON(run.text)


@handler.task("sized")
def sized(run):
    """A result of so many bytes."""
    return RawJSON('"' + "x" * (run.payload - 2) + '"')


handler.serve()
