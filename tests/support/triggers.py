"""The tasks that triggers start, in each language: what their program is, and the configuration that serves it.

What the tasks do is said at the head of tests/support/triggers_c.c; triggers_python.py, triggers_node.mjs and the scripts
of triggers_shell/ do the same, under the same names and with the same entries in the ledger.
"""

import json
import os
import sys

from . import paths
from .durable import environment, quoted

SUPPORT = f"{paths.SRC}/tests/support"
PROCESSES = 4
# What the triggers and waits for changes are about.
TABLES = """
create table users (id bigint generated always as identity primary key, email text, password text);
create schema app;
create table app.accounts (id int primary key, balance numeric not null, note text);
"""


# The scripts of triggers_shell/, as `exec` tasks: task -> (script, what else stands in its section).
SHELL = {
    "seen": ("enter", """trigger { event = "order.paid" when = "(payload->>'total')::numeric > 100" fields = { "id", "customer.name" } }
        trigger { event = "order.sent" }"""),
    "copy": ("enter", 'trigger { invocable = true } trigger { event = "order.sent" }'),
    "tick": ("enter", """trigger { invocable = true }
        trigger { cron = "* * * * * *" name = "every-second" payload = "{\\"by\\": \\"cron\\"}" }
        trigger { cron = "0 9 * * mon-fri" name = "morning" timezone = "Europe/Berlin" overlap = "skip" catchup = "last" }
        trigger { cron = "@yearly" }"""),
    "changed": ("enter", """trigger { table = "users" operation = "insert" columns = { "id", "email" } }
        trigger { schema = "app" table = "accounts" operation = "update" columns = { "id", "balance" }
            when = "new.balance < old.balance" }
        trigger { table = "users" operation = "delete" }"""),
    "report": ("enter", ""), "wait": ("wait", ""), "say": ("say", ""), "ask": ("ask", ""),
    "answer": ("answer", 'trigger { event = "asked" }'), "plan": ("plan", ""), "unplan": ("unplan", ""),
}


def shell_config(ledger):
    text = f'queue "default" {{ concurrency = {2 * PROCESSES} {environment({"LEDGER": ledger.path})} }}\n'
    for task, (script, more) in SHELL.items():
        text += f'task "{task}" {{ exec = {quoted(f"{SUPPORT}/triggers_shell/{script}.sh")} backoff = "1ms" {more} }}\n'
    return text


class Language:
    def __init__(self, name):
        self.name = name

    def configure(self, ledger, directory, node_tree):
        """node_tree: a function that says where the packages of Node are."""
        if self.name == "shell":
            return shell_config(ledger)
        command, env = [paths.built("tests/support/triggers_c")], {"LEDGER": ledger.path}
        if self.name == "python":
            command = [sys.executable, f"{SUPPORT}/triggers_python.py"]
            env |= {"PYTHONPATH": f"{paths.SRC}/proto/python"}
        elif self.name == "node":
            os.symlink(f"{node_tree()}/node_modules", f"{directory}/node_modules")
            program = f"{directory}/triggers_node.mjs"
            with open(f"{SUPPORT}/triggers_node.mjs", encoding="utf-8") as source, open(program, "w", encoding="utf-8") as copy:
                copy.write(source.read())
            command = ["node", program]
        words = ", ".join(quoted(word) for word in command)
        return (f'handler "triggers" {{ command = {{ {words} }} {environment(env)} }}\n'
                f'queue "default" {{ handler = "triggers" concurrency = {2 * PROCESSES} processes = {PROCESSES} }}\n')

    def environment(self):
        """Of the server: scripts find pgconductor in their PATH."""
        return {"PATH": f"{paths.BUILD}:{os.environ['PATH']}"}


LANGUAGES = {name: Language(name) for name in ("c", "python", "node", "shell")}


# ---- what the tests do

def waits(*list, mode="one", **more):
    """The payload of a wait."""
    return json.dumps({"mode": mode, "waits": list} | more)


def started(ledger, task, by=None):
    """[event, at, payload] of the executions of a task, in the order in which they ran."""
    found = []
    for entry in ledger.entries(task):
        event, at, payload = entry.rest.split("|", 2)
        if by in (None, event):
            found.append([event, at, json.loads(payload)])
    return found
