"""The handler of the tests of limits: whoever runs holds places, of which there are as many as may run at once.

FLOW_DIR/places says for each task which, {"task": {"name": how many, …}, …}; "{key}" in a name stands for the key of the run. A run
that finds none free is entered in the ledger (FLOW_LEDGER) as "over", all others as "start"; one that succeeds as "end", too. What
stands there besides is read by support/limits.py.
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from support.handler import Fail, Handler, Suspend  # noqa: E402
from support.ledger import append  # noqa: E402
from support.places import take  # noqa: E402

LEDGER, DIRECTORY = os.environ["FLOW_LEDGER"], os.environ["FLOW_DIR"]
NODE = os.environ.get("FLOW_NODE", "-")
handler = Handler(credit=20, concurrency=20, capabilities=["cancel", "step", "suspend"])


def places():
    with open(f"{DIRECTORY}/places", encoding="ascii") as file:
        return json.load(file)


def work(run):
    """{"key", "n": its number; "ms": how long; "file": until that is in FLOW_DIR; "fail": so many attempts fail, and are tried
    again "after_ms"; "nap": it sleeps once}. Deaf to CANCEL: what stops it is a signal."""
    p = run.payload
    what = f"{run.task} {p.get('key')} {p.get('n')} {NODE}"
    held = [take(f"{DIRECTORY}/place-{name.format(key=p.get('key'))}-", n) for name, n in places()[run.task].items()]
    append(LEDGER, "over" if None in held else "start", run.id, run.attempt, what)
    end = time.monotonic() + p.get("ms", 0) / 1000
    while time.monotonic() < end or p.get("file") and not os.path.exists(f"{DIRECTORY}/{p['file']}"):
        time.sleep(0.002)
    fails, naps = run.attempt <= p.get("fail", 0), p.get("nap") and not run.fields.get("steps")
    if not fails and not naps:
        append(LEDGER, "end", run.id, run.attempt, what)
    for fd in held:
        if fd is not None:
            os.close(fd)
    if fails:
        raise Fail("as told", **({"after_ms": p["after_ms"]} if "after_ms" in p else {}))
    if naps:
        raise Suspend([{"key": "nap", "timer_ms": 30}])
    return None


for task in places():
    # Of whichever queue it is asked for.
    handler.task(task, queue=os.environ.get("PGCONDUCTOR_QUEUE"))(work)
handler.serve()
