"""Tasks with every limit at once, on three nodes, while handlers, workers, masters and PostgreSQL are killed, nodes come and go,
and clients cancel, pause and change the priority: never one too many, none lost.
"""

import collections
import json
import os
import signal
import sys
import time

from support import faults
from support.durable import POINTS
from support.fleet import KINDS, Fleet
from support.paths import SRC
from support.proxy import Proxy
from support.wait import wait_for

# What each task may, in the configuration; which places its runs hold, and how many there are of these.
TASKS = {
    "free": ("", []),
    "conc": ("concurrency = 2", [["conc", 2]]),
    # There is always more of it than may begin, so that no tokens gather.
    "rate": ("rate_limit = 10 rate_period = 1s rate_burst = 200", []),
    "all": ('concurrency = 1 rate_limit = 20 rate_period = 1s rate_burst = 20 window = { "00:00", "24:00" }', [["all", 1]]),
}
BACKLOG = {"rate": 100}
# For so long tokens may gather all the same: when all nodes have to be heard first, and a program to be started.
LATE = 6.0


class Limits(Fleet):
    """Also, nodes leave in good order and others come in their place; and they are cut off from PostgreSQL."""
    kinds = KINDS + ["leave"] * 3 + ["writer"] * 2 + ["node"] * 2 + ["cut"] * 5

    def __init__(self, directory, *given, **more):
        self.directory, self.proxies = directory, []
        super().__init__(*given, **more)

    def address(self):
        """Each has a proxy of its own."""
        here = f"{self.directory}/proxy{len(self.proxies)}"
        os.mkdir(here)
        self.proxies.append(Proxy(self.cluster.dir, here))
        return self.proxies[-1].dsn("test")

    def start(self):
        node = super().start()
        node.proxy = self.proxies[-1]
        return node

    def owner(self):
        """Which node has a limited task, and its backend; Nones if that is not known."""
        found = self.ask("select array[n.pid, l.pid] from pgconductor.live_nodes() l join pgconductor.nodes n on n.id = l.node"
                         " join pgconductor.shards s on s.owner = n.id where s.task is not null order by random() limit 1")
        pid, backend = found or (None, None)
        node = next((node for node in self.nodes if node.pid == pid and node.running()), None)
        return node, backend if node else None

    def leave(self):
        i = self.dice.randrange(len(self.nodes))
        node = self.nodes[i]
        node.signal(signal.SIGTERM)
        wait_for(lambda: node.process.poll() is not None, 30, "the node has left")
        # It may have come to its point on the way, or not have begun yet.
        assert node.process.returncode in (0, -signal.SIGKILL, -signal.SIGTERM), node.log
        self.nodes[i] = self.start()
        return True

    def writer(self):
        _, backend = self.owner()
        return self.ask("select pg_terminate_backend(%s)", backend)

    def cut(self):
        """It is gone, and the node does not hear of it."""
        node, _ = self.owner()
        if node is not None:
            node.proxy.cut("writer")
        return node is not None

    def node(self):
        """Its handlers are left, and nobody knows of them."""
        node, _ = self.owner()
        if node is None:
            return False
        workers = list(node.workers().values())
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        node.kill9()
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        self.nodes[self.nodes.index(node)] = self.start()
        return True


def config(ledger, directory):
    env = f'"FLOW_LEDGER={ledger.path}", "FLOW_DIR={directory}", "FLOW_TASKS={" ".join(TASKS)}"'
    tasks = "\n".join(f'task "{name}" {{ handler = "flow" max_attempts = 1000 backoff = "20ms" {limits} }}'
                      for name, (limits, _) in TASKS.items())
    return f"""
takeover_timeout = "2s" shutdown_timeout = "2s"
queue "default" {{ handler = "flow" concurrency = 30 kill_grace = "100ms" shards = 3 }}
handler "flow" {{ command = {{ "{sys.executable}", "{SRC}/tests/support/flow_handler.py" }} env = {{ {env} }} }}
{tasks}
"""


class Clients:
    """They keep so many executions of each task waiting, and interfere with some."""

    def __init__(self, fleet, dice):
        self.fleet, self.dice = fleet, dice
        self.made = {name: set() for name in TASKS}
        self.counts = collections.Counter()
        self.cancelled = set()

    def item(self, task):
        dice = self.dice
        payload = {"ms": dice.choice((0, 5, 20, 60, 200)), "holds": TASKS[task][1], "fails": dice.choice((0, 0, 0, 1, 2))}
        item = {"payload": payload}
        if dice.random() < 0.3:
            item["priority"] = dice.choice((-1, 1))
        if dice.random() < 0.1:
            item["delay"] = f"{dice.randint(1, 500)} ms"
        return item

    def fill(self):
        for task, made in self.made.items():
            left = self.fleet.ask("select count(*) from pgconductor.executions where task = %s", task)
            wanted = BACKLOG.get(task, 20)
            if left is not None and left < wanted:
                ids = self.fleet.ask("select pgconductor.invoke_batch(%s, %s::json)", task,
                                     json.dumps([self.item(task) for _ in range(wanted)]))
                made.update(ids or ())

    def interfere(self):
        one = self.fleet.ask("select id from pgconductor.executions order by random() limit 1")
        if one is None:
            return
        what = self.dice.choice(("cancel", "edit", "pause", "resume"))
        if what == "cancel":
            # Without an answer it may have happened.
            if self.fleet.ask("select pgconductor.cancel(%s)", one) is not False:
                self.cancelled.add(one)
        elif what == "edit":
            self.fleet.ask("select pgconductor.edit(%s, priority => %s)", one, self.dice.choice((-1, 0, 1)))
        else:
            # Not that whose tokens would gather.
            self.fleet.ask("select pgconductor.enable_task(%s, %s)", self.dice.choice(("free", "conc", "all")), what == "resume")
        self.counts[what] += 1

    def go_on(self):
        """Nothing is paused, and what would take long is cancelled."""
        for task in TASKS:
            self.fleet.ask("select pgconductor.enable_task(%s)", task)
        self.cancelled |= self.made["rate"]
        self.fleet.ask("select count(pgconductor.cancel(id)) from (select id from pgconductor.executions where task = 'rate' offset 10) e")


def test_no_limit_is_broken_by_kills(own_cluster, server, ledger, short_tmp, seed, scale, capsys):
    began = time.monotonic()
    fleet = Limits(short_tmp, own_cluster(), server, config(ledger, short_tmp), seed, POINTS, nodes=3)
    wait_for(lambda: fleet.ask("select count(*) from pgconductor.tasks") == len(TASKS), 30, "the tasks are declared")
    clients = Clients(fleet, fleet.dice)
    deadline = time.monotonic() + scale(6, 300)
    while time.monotonic() < deadline:
        clients.fill()
        fleet.raise_the_dead()
        if fleet.dice.random() < 0.8:
            fleet.kill_next()
        for _ in range(3):
            clients.interfere()
        time.sleep(fleet.dice.random() * 0.7)
    fleet.peace()
    wait_for(lambda: fleet.ask("select true"), 30, "PostgreSQL answers")
    clients.go_on()

    def all_run():
        left = fleet.ask("select coalesce(json_agg(e), '[]')::text from (select a.id, a.task, a.state, a.waiting, a.priority, a.attempt,"
                         " a.run_at, e.ready_xid::text, s.* from pgconductor.executions_all a join pgconductor.executions e using (id)"
                         " join pgconductor.shards s on s.id = e.shard order by a.id limit 5) e")
        if left != "[]":
            raise AssertionError(left)
        return True
    wait_for(all_run, 90, "all of it has run", poll=0.1)
    faults.say(capsys, seed, f"{sum(map(len, clients.made.values()))} executions, {time.monotonic() - began:.0f} s, kills:"
                             f" {dict(fleet.kills)}, clients: {dict(clients.counts)}, at a point: {dict(fleet.hit)}")
    check(fleet, ledger, clients)
    most = not_too_many(sorted(entry.ns for entry in ledger.entries("start") if entry.rest.startswith("rate ")), 10)
    faults.say(capsys, seed, f"{most:.1f} began early")


def check(fleet, ledger, clients):
    states = fleet.ask("select json_object_agg(id, state) from pgconductor.executions_all")
    made = set().union(*clients.made.values())
    lost = [one for one in made if str(one) not in states]
    assert not lost, lost[:5]
    wrong = {one: state for one, state in states.items()
             if state != "completed" and (state != "cancelled" or int(one) not in clients.cancelled)}
    assert not wrong, wrong
    over = ledger.entries("over")
    assert not over, f"more ran at once than may: {over[:5]} of {len(over)}"
    starts = ledger.entries("start")
    assert {one for one, state in states.items() if state == "completed"} <= {str(entry.id) for entry in starts}


def not_too_many(times, limit):
    """There is no moment from which on more began than came in since then. With tokens left over from a former owner, or a full
    bucket in a new one's hands, there would be."""
    ahead = [i - limit * (ns - times[0]) / 1e9 for i, ns in enumerate(times)]
    least = most = 0.0
    for at in ahead:
        least = min(least, at)
        most = max(most, at - least)
    assert most <= 1 + limit * LATE, f"{most} too many"
    return most
