"""The handler of the tests of keys: what runs of a key holds a slot of it, of which there are as many as may run at once.

KEY_DIR/slots has that number for tasks whose executions have keys. A slot is a lock of the kernel's, which is gone when its
process is, however it ends. A run that finds none free is entered in the ledger (KEY_LEDGER) as "over".
"""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from support.handler import Fail, Handler, Suspend  # noqa: E402
from support.ledger import append  # noqa: E402
from support.places import take  # noqa: E402

LEDGER, DIRECTORY = os.environ["KEY_LEDGER"], os.environ["KEY_DIR"]
handler = Handler(credit=20, concurrency=20, capabilities=["cancel", "step", "suspend"])


def slots():
    with open(f"{DIRECTORY}/slots", encoding="ascii") as file:
        return int(file.read())


def run_one(run, n):
    """{"key", "n": its number; "ms": how long; "file": until that is in KEY_DIR; "fail": so many attempts fail; "nap": it sleeps once}"""
    p = run.payload
    key = p.get("key")
    what = f"{key} {p.get('n')}"
    slot = take(f"{DIRECTORY}/{run.task}-{key}-", n)
    append(LEDGER, "start" if slot is not None else "over", run.id, run.attempt, what)
    end = time.monotonic() + p.get("ms", 0) / 1000
    # Deaf to CANCEL: what stops it is a signal.
    while time.monotonic() < end or p.get("file") and not os.path.exists(f"{DIRECTORY}/{p['file']}"):
        time.sleep(0.002)
    if run.attempt > p.get("fail", 0) and not (p.get("nap") and not run.fields.get("steps")):
        append(LEDGER, "end", run.id, run.attempt, what)
    if slot is not None:
        os.close(slot)
    if run.attempt <= p.get("fail", 0):
        raise Fail("as told", after_ms=p.get("after_ms", 30))
    if p.get("nap") and not run.fields.get("steps"):
        raise Suspend([{"key": "nap", "timer_ms": 30}])
    return None


# Of whichever queue it is asked for.
QUEUE = os.environ.get("PGCONDUCTOR_QUEUE")
handler.task("ordered", queue=QUEUE)(lambda run: run_one(run, 1))
handler.task("tenant", queue=QUEUE)(lambda run: run_one(run, slots()))
handler.task("free", queue=QUEUE)(lambda run: run_one(run, 1000))
handler.serve()
