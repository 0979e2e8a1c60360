"""The program that the engine's tests have run for them, and the configuration that says so.

    app = App(directory, ledger)
    server(config=app.config(concurrency=50))
    db.execute("select pgconductor.invoke('seen', '1')")

As a program (app.py LEDGER DIRECTORY CREDIT TASK…) it serves these tasks; each start is entered in the ledger as "run"
with the run's ready_xid and the payload:

seen    returns null
echo    returns its payload, byte for byte
hold    waits for the file DIRECTORY/release, DIRECTORY/release-ID or DIRECTORY/release-ID-XID; then enters "end" and
        returns the ready_xid. When it is told to stop it enters "stopped" and fails. {"deaf": true}: it does not listen.
fail    fails with the fields of its payload
raise   raises ValueError
die     ends its process, by a signal
answer  returns the text in its payload, as it stands
"""

import os
import shlex
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.ledger import append  # noqa: E402

TASKS = ("seen", "echo", "hold", "fail", "raise", "answer")


class App:
    """One such program, and what a test does with it."""

    def __init__(self, directory, ledger):
        self.directory = directory
        self.ledger = ledger

    def command(self, *tasks, credit=100):
        words = [sys.executable, os.path.abspath(__file__), self.ledger.path, self.directory, str(credit), *(tasks or TASKS)]
        return shlex.join(words)

    def config(self, *tasks, credit=100, concurrency=100, top="", queue="", more="", name="app"):
        """A configuration in which the program serves these tasks (all of them) of queue default."""
        return (f'{top}\nhandler "{name}" {{ command = "{self.command(*tasks, credit=credit)}" }}\n'
                f'queue "default" {{ handler = "{name}" concurrency = {concurrency} {queue} }}\n{more}\n')

    def release(self, *which):
        """Let what holds go on: all of it, or one execution, or one run (its id and ready_xid)."""
        name = "-".join(["release", *(str(w) for w in which)])
        open(os.path.join(self.directory, name), "w", encoding="ascii").close()

    def hold_again(self):
        os.unlink(os.path.join(self.directory, "release"))

    def runs(self, execution=None):
        """Entries of started runs, in order."""
        return self.ledger.entries("run", execution)

    def xids(self, execution):
        """ready_xid of each run of an execution."""
        return [int(e.rest.split(" ", 1)[0]) for e in self.runs(execution)]

    def assert_once(self, executions):
        """Each of these was run exactly once, and nothing else was."""
        counts = self.ledger.counts("run")
        assert set(counts) == set(executions), (
            f"missing {sorted(set(executions) - set(counts))[:10]}, unexpected {sorted(set(counts) - set(executions))[:10]}")
        twice = {i: n for i, n in counts.items() if n != 1}
        assert not twice, f"more than once: {dict(list(twice.items())[:10])}"


def main():
    from support.handler import Fail, Handler, RawJSON
    ledger, directory, credit, *wanted = sys.argv[1:]
    # Threads only where something holds: they cost more than the rest together.
    threads = 100 if "hold" in wanted else 1
    h = Handler(credit=int(credit), concurrency=min(threads, int(credit)), capabilities=["cancel"])

    def seen(run):
        return None

    def echo(run):
        return RawJSON(run.text)

    def hold(run):
        deaf = isinstance(run.payload, dict) and run.payload.get("deaf")
        xid = run.fields["token"].split(".", 1)[0]
        files = [os.path.join(directory, name) for name in ("release", f"release-{run.id}", f"release-{run.id}-{xid}")]
        while not any(os.path.exists(file) for file in files):
            if run.cancelled.is_set() and not deaf:
                append(ledger, "stopped", run.id, run.attempt)
                raise Fail("stopped", code="cancelled", retry=False)
            time.sleep(0.01)
        append(ledger, "end", run.id, run.attempt)
        return int(xid)

    def fail(run):
        fields = dict(run.payload)
        raise Fail(fields.pop("message", "no message"), **fields)

    def raise_(run):
        raise ValueError("what a pity")

    def die(run):
        os.kill(os.getpid(), signal.SIGKILL)

    def answer(run):
        return RawJSON(run.payload)

    functions = {"seen": seen, "echo": echo, "hold": hold, "fail": fail, "raise": raise_, "answer": answer, "die": die}

    def noted(function):
        def call(run):
            xid = run.fields["token"].split(".", 1)[0]
            append(ledger, "run", run.id, run.attempt, f"{xid} {run.text[:200]}")
            return function(run)
        return call
    for name in wanted:
        h.task(name)(noted(functions[name.split(".")[0]]))
    h.serve()


if __name__ == "__main__":
    assert threading.current_thread() is threading.main_thread()
    main()
