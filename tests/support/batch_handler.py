"""The handler of the tests of batches: of each execution it enters "start" in the ledger, with the ids of its batch.

BATCH is what HELLO says of the task `pile` (a JSON object), BATCH_OPTIONS its options. A payload says what is done about that one:
{"fail": true} fails; {"file": F}: all of the batch waits for DIRECTORY/F; {"die": F}: the process ends in the first attempt, when
DIRECTORY/F is there, with such executions unanswered; {"ms": N}: that takes so long; {"mute": true} is never answered; {"say": M} is answered by that message.
`plain` is a task like others.
"""

import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from support.handler import Handler, Run  # noqa: E402
from support.ledger import append  # noqa: E402

LEDGER, DIRECTORY = os.environ["BATCH_LEDGER"], os.environ["BATCH_DIR"]
CREDIT = int(os.environ.get("BATCH_CREDIT", "4"))


def exists(name):
    return os.path.exists(f"{DIRECTORY}/{name}")


class Batches(Handler):
    def received(self, task, items):
        """RUN with items: a thread for all of them."""
        runs = [Run(item["exec"], item | {"task": task}) for item in items]
        self.running |= {run.exec: run for run in runs}
        threading.Thread(target=self.work, args=(runs,), daemon=True).start()

    def work(self, runs):
        ids = " ".join(str(run.id) for run in runs)
        for run in runs:
            append(LEDGER, "start", run.id, run.attempt, ids)
        for run in sorted(runs, key=lambda run: "die" in run.text):
            payload = run.payload if isinstance(run.payload, dict) else {}
            time.sleep(payload.get("ms", 0) / 1000)
            name = payload.get("file")
            while name and not exists(name) and not run.cancelled.is_set():
                time.sleep(0.005)
            if "die" in payload and run.attempt == 1:
                while not exists(payload["die"]):
                    time.sleep(0.005)
                os._exit(3)
            self.answer(run, payload)

    def answer(self, run, payload):
        if run.cancelled.is_set():
            append(LEDGER, "stopped", run.id, run.attempt, run.reason)
            self.send("FAIL", run.exec, {"code": "cancelled", "message": "stopped"})
        elif payload.get("fail"):
            self.send("FAIL", run.exec, {"code": "app", "message": "as it was told"})
        elif "say" in payload:
            self.send(payload["say"], run.exec, {"key": "k", "waits": [], "after": 0})
        elif not payload.get("mute"):
            append(LEDGER, "done", run.id, run.attempt)
            self.send("DONE", run.exec, {"result": run.text})
        with self.idle:
            self.running.pop(run.exec, None)
            self.idle.notify_all()

    def receive(self):
        name, execution, fields = super().receive()
        while name == "RUN" and fields.get("items"):
            self.received(fields["task"], fields["items"])
            name, execution, fields = super().receive()
        return name, execution, fields


handler = Batches(credit=CREDIT, concurrency=CREDIT, capabilities=["cancel", "drain"])
handler.options["pile"] = {"name": "pile", "batch": json.loads(os.environ.get("BATCH", '{"size": 5, "timeout_ms": 200}'))}
for key in ("options", "payload_schema"):
    if f"BATCH_{key.upper()}" in os.environ:
        handler.options["pile"][key] = os.environ[f"BATCH_{key.upper()}"]


@handler.task("plain")
def plain(run):
    append(LEDGER, "plain", run.id, run.attempt)
    return None


handler.serve()
