"""A program of the Python library under a real worker whose master is the test: it says what is saved, and when.

    with Played("tests/support/python_lasting.py") as m:
        x = m.start("order", {"id": 7}, steps=saved(paid=3))
        assert m.suspended(x) == {"nap": {"timer_ms": 1000}}
"""

import itertools
import json
import sys

from . import paths
from .fakemaster import FakeMaster

ENVIRONMENT = {"PYTHONPATH": f"{paths.SRC}/proto/python"}


class Played(FakeMaster):
    def __init__(self, program, *words, credit=10, **options):
        super().__init__(**options)
        self.numbers = itertools.count(1)
        self.setup(self.program("app", argv=[sys.executable, f"{paths.SRC}/{program}", *words], env=ENVIRONMENT, credit=credit))
        self.ready(credit)

    def start(self, task, payload=None, **fields):
        """A run of a task; its number."""
        execution = next(self.numbers)
        self.run(execution, task, json.dumps(payload), **fields)
        return execution

    def next(self, name, execution, timeout=20):
        """The fields of the next such frame."""
        return self.expect(lambda n, x, f: (n, x) == (name, execution), timeout, name)[2]

    def save(self, execution, key=None):
        """Acknowledge the next step; its key and its result."""
        fields = self.next("STEP", execution)
        assert key in (None, fields["key"])
        self.send("STEP_OK", execution, {"key": fields["key"]})
        return fields["key"], json.loads(fields["result"])

    def called(self, execution, result=None, **error):
        """Answer the next call; its name and its arguments."""
        fields = self.next("CALL", execution)
        self.send("RETURN", execution, {"call": fields["call"], "error": json.dumps(error)} if error else
                  {"call": fields["call"], "result": json.dumps(result)})
        return fields["name"], json.loads(fields["args"])

    def said(self, execution):
        """The next line for the log."""
        fields = self.next("LOG", execution)
        return fields["message"], json.loads(fields.get("fields") or "{}")

    def suspended(self, execution, any=False):
        """What it waits for, by its keys: for all of it, or any."""
        fields = self.next("SUSPEND", execution)
        assert fields.get("any", False) is any
        return {wait.pop("key"): wait for wait in fields["waits"]}

    def nothing_left(self):
        """What a test has not taken was one frame too many."""
        rest, self.frames = self.frames, []
        assert not [frame for frame in rest if frame[0] not in ("SLOTS", "STARTED")], rest


def saved(**results):
    """Steps as RUN has them."""
    return [{"key": key, "result": json.dumps(value)} for key, value in results.items()]


def failed(key, code, message="it did not"):
    """Something waited for that came to nothing, likewise."""
    return {"key": key, "error": json.dumps({"code": code, "message": message})}
