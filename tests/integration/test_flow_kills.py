"""Tasks with every limit, of the whole task and of its keys, on three nodes, while handlers, workers, masters and PostgreSQL are
killed, nodes come and go, and clients cancel, pause and change the priority: never one too many, none out of order, lost or doubled.
"""

import collections
import json
import os
import signal
import time

from support import faults, limits
from support.durable import POINTS
from support.fleet import KINDS, Fleet
from support.proxy import Proxy
from support.wait import wait_for

# What each task may, in the configuration, and which places its runs hold.
TASKS = {
    "free": ("", {}),
    "conc": ("concurrency = 2", {"conc": 2}),
    # There is always more of these than may begin, so that no tokens gather.
    "rate": ("rate_limit = 10 rate_period = 1s rate_burst = 200", {}),
    "call": ('concurrency_key = "key" key_rate_limit = 5 key_rate_period = 1s key_rate_burst = 200', {}),
    "all": ('concurrency = 1 rate_limit = 20 rate_period = 1s rate_burst = 20 window = { "00:00", "24:00" }', {"all": 1}),
    "ordered": ('fifo_key = "key"', {"ordered-{key}": 1}),
    "tenant": ('concurrency_key = "key" concurrency_per_key = 2', {"tenant-{key}": 2}),
    "both": ('concurrency = 3 fifo_key = "key" key_rate_limit = 20 key_rate_period = 1s', {"both": 3, "both-{key}": 1}),
}
KEYS = {"call": 2, "ordered": 4, "tenant": 4, "both": 4}
RATES = {"rate": 10, "call": 5}
BACKLOG = {"rate": 100, "call": 100}
FIFO = ("ordered", "both")
# For so long tokens may gather all the same: when all nodes have to be heard first, and a program to be started.
LATE = 6.0


class Limits(Fleet):
    """Also, nodes leave in good order and others come in their place; and they are cut off from PostgreSQL."""
    kinds = KINDS + ["leave"] * 3 + ["writer"] * 2 + ["reader"] + ["node"] * 2 + ["cut"] * 5

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

    def reader(self):
        return self.ask("select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'pgconductor reader'"
                        " and datname = current_database()")

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
    limits.set_places(directory, {name: places for name, (_, places) in TASKS.items()})
    return limits.configuration(ledger, directory, {name: options for name, (options, _) in TASKS.items()},
                                queue="concurrency = 30 shards = 3")


class Clients:
    """They keep so many executions of each task waiting, and interfere with some."""

    def __init__(self, fleet, dice):
        self.fleet, self.dice = fleet, dice
        self.made = {name: set() for name in TASKS}
        self.counts = collections.Counter()
        self.cancelled = set()
        self.numbers = collections.Counter()

    def item(self, task):
        dice = self.dice
        payload = {"ms": dice.choice((0, 5, 20, 60, 200)), "fail": dice.choice((0, 0, 0, 1, 2)), "nap": dice.random() < 0.1}
        item = {"payload": payload}
        if task in KEYS:
            key = f"k{dice.randrange(KEYS[task])}"
            payload |= {"key": key, "n": self.numbers[task, key]}
            self.numbers[task, key] += 1
        if task in FIFO:
            # As it is made, so it is to run.
            return item
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
        what = self.dice.choice(("cancel", "edit", "pause", "resume"))
        one = self.fleet.ask("select id from pgconductor.executions where %s or task <> all (%s) order by random() limit 1",
                             what != "edit", list(FIFO))
        if one is None:
            return
        if what == "cancel":
            # Without an answer it may have happened.
            if self.fleet.ask("select pgconductor.cancel(%s)", one) is not False:
                self.cancelled.add(one)
        elif what == "edit":
            self.fleet.ask("select pgconductor.edit(%s, priority => %s)", one, self.dice.choice((-1, 0, 1)))
        else:
            # Not those whose tokens would gather.
            task = self.dice.choice([task for task in TASKS if task not in RATES])
            self.fleet.ask("select pgconductor.enable_task(%s, %s)", task, what == "resume")
        self.counts[what] += 1

    def go_on(self):
        """Nothing is paused, and what would take long is cancelled."""
        for task in TASKS:
            self.fleet.ask("select pgconductor.enable_task(%s)", task)
        for task in RATES:
            # Also such as were made without an answer.
            self.cancelled.update(self.fleet.ask("select coalesce(array_agg(id), '{}') from (select id from pgconductor.executions"
                                                 " where task = %s offset 10) e where pgconductor.cancel(id)", task))


def test_no_limit_is_broken_by_kills(own_cluster, server, ledger, short_tmp, seed, scale, capsys):
    began = time.monotonic()
    fleet = Limits(short_tmp, own_cluster(), server, config(ledger, short_tmp), seed, POINTS, nodes=3)
    wait_for(lambda: fleet.ask("select count(*) from pgconductor.tasks") == len(TASKS), 30, "the tasks are declared")
    clients = Clients(fleet, fleet.dice)
    deadline = time.monotonic() + scale(10, 300)
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
    faults.say(capsys, seed, f"began early: {[at_its_rate(ledger, task) for task in RATES]}")


def check(fleet, ledger, clients):
    rows = fleet.ask("select json_agg(json_build_array(id, task, state, payload)) from pgconductor.finished_executions")
    states = {one: state for one, _, state, _ in rows}
    assert len(rows) == len(states), "some have finished more than once"
    lost = set().union(*clients.made.values()) - set(states)
    assert not lost, sorted(lost)[:5]
    wrong = {one: state for one, state in states.items()
             if state != "completed" and (state != "cancelled" or one not in clients.cancelled)}
    assert not wrong, wrong
    limits.exact(ledger)
    completed = {one for one, state in states.items() if state == "completed"}
    assert completed <= {run.id for run in limits.began(ledger, kind="end")}
    for task in FIFO:
        ran = limits.in_order(limits.began(ledger, task))
        for one, name, _, payload in rows:
            assert name != task or one not in completed or payload["n"] in ran[payload["key"]], (one, payload)


def at_its_rate(ledger, task):
    """There is no moment from which on more began, of the task or of one of its keys, than came in since then. With tokens left
    over from a former owner, or a full bucket in a new one's hands, there would be."""
    runs = limits.began(ledger, task)
    most = {key: limits.most_at_once([run for run in runs if run.key == key], RATES[task]) for key in {run.key for run in runs}}
    assert max(most.values()) <= 2 + RATES[task] * LATE, f"too many: {most}"
    return round(max(most.values()), 1)
