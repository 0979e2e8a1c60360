"""The handler of the test of all limits at once: each run holds places, of which there are as many as may run at once.

Its payload says which, "holds": [[name, how many there are], …]. A place is a lock of the kernel's on a file in FLOW_DIR, which
is gone when its process is, however it ends: so it shows what runs at that moment. A run that finds none free is entered in the
ledger (FLOW_LEDGER) as "over", all others as "start". "ms" is how long it takes, and "fails" how many attempts fail.
"""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from support.handler import Fail, Handler  # noqa: E402
from support.ledger import append  # noqa: E402
from support.places import take  # noqa: E402

LEDGER, DIRECTORY = os.environ["FLOW_LEDGER"], os.environ["FLOW_DIR"]
handler = Handler(credit=20, concurrency=20, capabilities=["cancel"])


def work(run):
    """Deaf to CANCEL: what stops it is a signal."""
    given = run.payload
    held = [take(f"{DIRECTORY}/place-{name}-", places) for name, places in given["holds"]]
    append(LEDGER, "over" if None in held else "start", run.id, run.attempt, f"{run.task} {given.get('key', '-')}")
    time.sleep(given["ms"] / 1000)
    for fd in held:
        if fd is not None:
            os.close(fd)
    if run.attempt <= given.get("fails", 0):
        raise Fail("as it was told to")


for task in os.environ["FLOW_TASKS"].split():
    handler.task(task)(work)
handler.serve()
