"""A program whose versions tests make up. SAID: its tasks as JSON, {name: {"queue": …, "triggers": […], "options": {…}}}, or
@FILE to have it read at each start. LEDGER: each run is entered as "run", with VERSION and the task. {"hold": true} waits for
the file HOLD.
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.handler import Handler  # noqa: E402
from support.ledger import append  # noqa: E402


def said():
    text = os.environ["SAID"]
    if text.startswith("@"):
        with open(text[1:], encoding="utf-8") as file:
            text = file.read()
    return json.loads(text)


h = Handler(credit=20, concurrency=20, capabilities=["drain"])


def work(run):
    append(os.environ["LEDGER"], "run", run.id, run.attempt, f"{os.environ.get('VERSION', '')} {run.task}")
    while isinstance(run.payload, dict) and run.payload.get("hold") and not os.path.exists(os.environ["HOLD"]):
        time.sleep(0.02)
    return run.task


for name, one in said().items():
    h.task(name, queue=one.get("queue"), **one.get("options", {}))(work)
    if "triggers" in one:
        h.options[name]["triggers"] = json.dumps(one["triggers"])
h.serve()
