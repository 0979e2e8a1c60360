"""The tasks of executions that last, in each language: what their program is, and the configuration that serves it.

What the tasks do is said at the head of tests/support/durable_c.c; durable_python.py, durable_node.mjs and the scripts
of durable_shell/ do the same, under the same names and with the same entries in the ledger.
"""

import json
import os
import sys

from . import paths

RETRY_AT_ONCE = '{"backoff": "1ms"}'
SUPPORT = f"{paths.SRC}/tests/support"
# The scripts of durable_shell/, as `exec` tasks: task -> (script, what else stands in its section).
SHELL = {
    "steps": ("steps", ""), "sleep": ("sleep", ""), "parent": ("parent", ""), "many": ("many", ""), "leaf": ("leaf", ""),
    "far": ("leaf", 'queue = "other"'), "twice": ("twice", ""), "loop": ("loop", ""), "cancel": ("cancel", ""),
    "start": ("start", ""), "keep": ("keep", ""), "flaky": ("flaky", ""), "keyless": ("keyless", ""),
    "once": ("steps", "max_attempts = 1"), "brief": ("loop", 'total_timeout = "700ms"'),
    "nap": ("sleep", 'total_timeout = "700ms"'), "fruit": ("fruit", ""), "ten": ("ten", ""), "double": ("double", ""),
}


def quoted(text):
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def environment(names):
    return "env = { " + ", ".join(quoted(f"{name}={text}") for name, text in names.items()) + " }"


def config(ledger, processes=2, concurrency=20, options=RETRY_AT_ONCE, queues=("default",), credit=1, top="",
           command=None, **env):
    """Queues that a program serves, the one in C if no other is given: so many processes, each of which takes credit
    executions."""
    names = {"LEDGER": ledger.path, "DURABLE_OPTIONS": options, "DURABLE_CONCURRENCY": credit} | env
    words = ", ".join(quoted(word) for word in command or [paths.built("tests/support/durable_c")])
    text = f'{top}\nhandler "durable" {{ command = {{ {words} }} {environment(names)} }}\n'
    for queue in queues:
        text += (f'queue "{queue}" {{ handler = "durable" concurrency = {concurrency} processes = {processes}'
                 ' kill_grace = "2s" }\n')
    return text


def shell_config(ledger, concurrency, queues):
    text = ""
    names = environment({"LEDGER": ledger.path})
    for queue in queues:
        text += f'queue "{queue}" {{ concurrency = {concurrency} kill_grace = "2s" {names} }}\n'
    for task, (script, more) in SHELL.items():
        text += f'task "{task}" {{ exec = {quoted(f"{SUPPORT}/durable_shell/{script}.sh")} backoff = "1ms" {more} }}\n'
    return text


class Language:
    """name; many: how many steps are many for it; places: how many executions run at once."""
    places = 4

    def __init__(self, name, many):
        self.name, self.many = name, many

    def configure(self, ledger, directory, node_tree):
        """node_tree: a function that says where the packages of Node are."""
        queues = ("default", "other")
        if self.name == "shell":
            return shell_config(ledger, self.places, queues)
        if self.name == "c":
            return config(ledger, self.places, self.places, queues=queues)
        if self.name == "python":
            return config(ledger, 2, self.places, queues=queues, credit=2,
                          command=[sys.executable, f"{SUPPORT}/durable_python.py"],
                          PYTHONPATH=f"{paths.SRC}/proto/python")
        os.symlink(f"{node_tree()}/node_modules", f"{directory}/node_modules")
        program = f"{directory}/durable_node.mjs"
        with open(f"{SUPPORT}/durable_node.mjs", encoding="utf-8") as source, open(program, "w", encoding="utf-8") as copy:
            copy.write(source.read())
        return config(ledger, 2, self.places, queues=queues, credit=2, command=["node", program])

    def environment(self):
        """Of the server: scripts find pgconductor in their PATH."""
        return {"PATH": f"{paths.BUILD}:{os.environ['PATH']}"}


LANGUAGES = {one.name: one for one in (Language("c", 2000), Language("python", 500), Language("node", 500), Language("shell", 10))}


# ---- what the tests look at

def did(ledger, execution, kind="did"):
    """What an execution has entered, in order."""
    return [e.rest for e in ledger.entries(kind, execution)]


def assert_no_acknowledged_step_again(ledger):
    """A step that was entered as saved is not entered as done later."""
    saved, again = set(), []
    for e in ledger.entries():
        if e.kind == "ok":
            saved.add((e.id, e.rest))
        elif e.kind == "did" and (e.id, e.rest) in saved:
            again.append(e)
    assert not again, f"saved, and done again: {again[:5]}"


def steps_of(db, execution):
    return db.execute("select key, result, error from pgconductor.execution_steps(%s)", (execution,)).fetchall()


def ended(db, execution):
    """(state, result, error), or None while it has not ended."""
    row = db.execute("select state, result, error from pgconductor.result(%s)", (execution,)).fetchone()
    return row if row and row[0] in ("completed", "failed", "cancelled") else None


def children(*list, caught=True):
    """The payload of a parent."""
    return json.dumps({"children": list, "caught": caught})


def has_crash_points():
    """Was pgconductor built with --enable-debug or --enable-asan?"""
    binary = paths.PGCONDUCTOR
    with open(binary, "rb") as file:
        wrapped = file.read(2) == b"#!"
    if wrapped:
        binary = os.path.join(os.path.dirname(binary), ".libs", os.path.basename(binary))
    with open(binary, "rb") as file:
        return b"PGCONDUCTOR_CRASH" in file.read()


POINTS = ["step_received", "step_sent", "step_committed", "suspend_received", "suspend_committed", "child_settled",
          "wake_written", "wake_taken", "resume_written"]
