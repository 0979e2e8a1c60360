"""Nodes that serve tasks with limits, and what the ledger of their handlers (support/flow_handler.py) says of what ran."""

import collections
import json
import os
import sys

from .engine import batch, value
from .paths import SRC

Began = collections.namedtuple("Began", "ns id attempt task key n node")
OFTEN = 'max_attempts = 1000 backoff = "20ms"'


def set_places(directory, places):
    """{"task": {"name": how many, …}, …}: what runs of each task hold."""
    with open(f"{directory}/places.new", "w", encoding="ascii") as file:
        json.dump(places, file)
    os.rename(f"{directory}/places.new", f"{directory}/places")


def configuration(ledger, directory, tasks, queue="", top='takeover_timeout = "2s"', node="-"):
    """tasks: their options, by name."""
    env = f'"FLOW_LEDGER={ledger.path}", "FLOW_DIR={directory}", "FLOW_NODE={node}"'
    return f"""
{top} shutdown_timeout = "2s"
queue "default" {{ handler = "flow" kill_grace = "100ms" {queue or "concurrency = 30"} }}
handler "flow" {{ command = {{ "{sys.executable}", "{SRC}/tests/support/flow_handler.py" }} env = {{ {env} }} }}
""" + "\n".join(f'task "{name}" {{ handler = "flow" {OFTEN} {options} }}' for name, options in tasks.items()) + "\n"


class Limited:
    """Nodes on one ledger. places: as in set_places(); counted: the place of which slots() changes how many there are."""

    def __init__(self, server, db, ledger, directory, places, counted):
        self.server, self.db, self.ledger, self.directory = server, db, ledger, directory
        self.places, self.counted = places, counted
        self.up = []
        set_places(directory, places)

    def slots(self, n):
        """So many may run at once, as far as the handlers are concerned."""
        task, place = self.counted
        self.places[task][place] = n
        set_places(self.directory, self.places)

    def start(self, n=1, wait=True, more="", limits=None, **configured):
        """limits: options of tasks in the configuration; more: what else stands there."""
        for _ in range(n):
            config = configuration(self.ledger, self.directory, dict.fromkeys(self.places, "") | (limits or {}),
                                   node=f"n{len(self.up)}", **configured)
            self.up.append(self.server(config=config + more, wait=wait))
        return self.up[-1]

    def declare(self, task, **options):
        """At run time."""
        self.db.execute("select pgconductor.declare_task(%s, options => %s, source => 'set')", (task, json.dumps(options)))

    def batch(self, task, payloads):
        return value(self.db, "select pgconductor.invoke_batch(%s, %s)", task, json.dumps([{"payload": p} for p in payloads]))

    def many(self, task, n, payload="{}"):
        return batch(self.db, task, n, f'{{"payload": {payload}}}')

    def go(self, name="go"):
        """What waits for this file goes on."""
        open(f"{self.directory}/{name}", "w", encoding="ascii").close()

    def began(self, task=None, kind="start"):
        return began(self.ledger, task, kind)

    def exact(self):
        exact(self.ledger)


def began(ledger, task=None, kind="start"):
    """What was entered by all runs, or by those of a task, in the order of time."""
    entries = (Began(e.ns, e.id, e.attempt, *e.rest.split()) for e in ledger.entries(kind))
    return sorted(e for e in entries if task in (None, e.task))


def exact(ledger):
    over = began(ledger, kind="over")
    assert not over, f"more ran at once than may: {over[:5]} of {len(over)}"


def in_order(runs):
    """Of each key none begins when a later one has begun, however often it begins: key -> their numbers."""
    numbers = collections.defaultdict(list)
    for run in runs:
        numbers[run.key].append(int(run.n))
    for key, of in numbers.items():
        assert of == sorted(of), f"out of order in {key}: {next((a, b) for a, b in zip(of, of[1:]) if a > b)} in {of}"
    return {key: sorted(set(of)) for key, of in numbers.items()}


def most_at_once(runs, per_second):
    """The least burst that allows these beginnings at that rate: at some moment so many more began than came in since then.

    What is measured is when a handler begins, and one may be quicker than the one before.
    """
    most = low = 0.0
    for i, run in enumerate(runs):
        ahead = i - per_second * (run.ns - runs[0].ns) / 1e9
        low = min(low, ahead)
        most = max(most, ahead - low + 1)
    return most
