"""The handler of the tests of limits: whoever runs holds a slot, of which there are as many as may run at once.

LIMIT_DIR/slots has their number. A slot is a lock of the kernel's, which is gone when its process is, however it ends: so it
shows what runs at that moment. A run that finds no slot free is entered in the ledger (LIMIT_LEDGER) as "over".
"""

import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from support.handler import Handler  # noqa: E402
from support.ledger import append  # noqa: E402
from support.places import take  # noqa: E402

LEDGER, DIRECTORY = os.environ["LIMIT_LEDGER"], os.environ["LIMIT_DIR"]
NODE = os.environ.get("LIMIT_NODE", "-")
handler = Handler(credit=20, concurrency=20, capabilities=["cancel"])


def slots():
    with open(f"{DIRECTORY}/slots", encoding="ascii") as file:
        return int(file.read())


def work(run):
    """{"ms": how long; "file": until that is in LIMIT_DIR}"""
    slot = take(f"{DIRECTORY}/slot", slots())
    append(LEDGER, "start" if slot is not None else "over", run.id, run.attempt, NODE)
    end = time.monotonic() + run.payload.get("ms", 0) / 1000
    name = run.payload.get("file")
    # Deaf to CANCEL: what stops it is a signal.
    while time.monotonic() < end or name and not os.path.exists(f"{DIRECTORY}/{name}"):
        time.sleep(0.005)
    append(LEDGER, "end", run.id, run.attempt, NODE)
    if slot is not None:
        os.close(slot)
    return None


def free(run):
    """Not limited; {"ms": how long}"""
    append(LEDGER, "free", run.id, run.attempt, NODE)
    time.sleep(run.payload.get("ms", 0) / 1000)
    return None


# Of whichever queue it is asked for.
QUEUE = os.environ.get("PGCONDUCTOR_QUEUE")
handler.task("work", queue=QUEUE)(work)
handler.task("free", queue=QUEUE)(free)
assert threading.current_thread() is threading.main_thread()
handler.serve()
