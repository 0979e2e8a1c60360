"""Operations of support/flow_model.py, each done twice: by the Model, and by the Database, through the functions that clients call
and those that a node's master calls. What came back is compared, what is handed out and in which order, and in the end every
execution. Nothing of the server is needed, so thousands of sequences take minutes.
"""

import json
import math

import psycopg

from .flow_model import KEYED, OWNED, PRIORITY, QUEUES, TASKS, Mismatch, Model
from .sqlnode import ALL, Node, declare

# Seconds in a unit of the model's time.
UNIT = 1000


class Database:
    """The same by SQL: a client, and a node as its master is."""

    def __init__(self, connect):
        # What is committed need not survive anything.
        def quick(**options):
            return connect(options="-c synchronous_commit=off", **options)
        self.db = quick()
        for queue in QUEUES:
            self.db.execute("select pgconductor.ensure_queue(%s, 1)", (queue,))
        for task, (queue, attempts, keep) in TASKS.items():
            kept = {} if keep is None else dict.fromkeys(("remove_on_complete", "remove_on_fail"), f"{keep * UNIT}s")
            key = {"concurrency_key": "k"} if task in KEYED else {}
            declare(self.db, task, queue, max_attempts=attempts, priority=PRIORITY.get(task), **kept, **key)
        self.node = Node(quick).serve(*(f"{queue}/{task}" for queue in OWNED for task in TASKS))
        self.node.settle_in()
        rows = self.db.execute("select queue, id from pgconductor.shards where owner is not null").fetchall()
        self.shards = dict(rows)
        assert sorted(self.shards) == list(OWNED)
        self.still = True

    def value(self, query, *args):
        return self.db.execute(query, args or None).fetchone()[0]

    def begin(self, still):
        """An empty database, whose clock stands still between operations, or goes on."""
        self.db.execute("""delete from pgconductor.executions; delete from pgconductor.finished_executions;
            delete from pgconductor.invoke_keys; delete from pgconductor.wakes; delete from pgconductor.running;
            delete from pgconductor.retried; delete from pgconductor.steps; delete from pgconductor.expiries;
            update pgconductor.tasks set paused_at = null where paused_at is not null;
            update pgconductor.queues set paused_at = null where paused_at is not null""")
        self.node.writer.execute("select set_config('pgconductor.forgot', '', false)")
        if not self.still:
            self.db.execute("select pgconductor.fake_now(null)")
        self.still, self.now, self.micros = still, 0, 0
        self.ages = {}
        self.set_clock("''")
        self.base = self.value("select pgconductor.now()::text")
        self.clock(0)

    def clock(self, units):
        self.now += units
        if self.still:
            self.set_clock("(%s::timestamptz + %s::interval)::text", self.base, f"{self.now * UNIT} s {self.micros} us")
        elif units:
            self.db.execute("select pgconductor.fake_now(pgconductor.now() + %s * interval '1 s')", (units * UNIT,))

    def set_clock(self, moment, *args):
        for conn in (self.db, self.node.writer, self.node.reader):
            conn.execute(f"select set_config('pgconductor.fake_now', {moment}, false)", args)

    def moment(self):
        """No two histories of one execution are of the same time, which they could not be by a clock that goes on."""
        self.micros += 1
        if self.still:
            self.clock(0)

    @staticmethod
    def span(units):
        return f"{units * UNIT} seconds"

    def invoke(self, task, o):
        names, args = [], [task, json.dumps(o["payload"])]
        for name, value in o.items():
            if name == "run_at":
                names.append("run_at => pgconductor.now() + %s::interval")
                args.append(self.span(value))
            elif name != "payload":
                names.append(f"{name} => %s" + {"metadata": "::json", "queue": "", "dedupe_key": "", "priority": ""}
                             .get(name, "::interval"))
                args.append(json.dumps(value) if name == "metadata" else self.span(value) if "interval" in names[-1] else value)
        return self.value(f"select pgconductor.invoke({', '.join(['%s', '%s'] + names)})", *args)

    def batch(self, task, items):
        present = self.value("select extract(epoch from pgconductor.now())")
        given = []
        for o in items:
            given.append({name: self.span(value) if name in ("delay", "dedupe_for", "throttle", "debounce", "max_wait")
                          else self.value("select to_timestamp(%s)::text", present + value * UNIT) if name == "run_at" else value
                          for name, value in o.items()})
        return self.value("select pgconductor.invoke_batch(%s, %s::json)", task, json.dumps(given))

    def change(self, id, change):
        if "queue" in change:
            return self.value("select pgconductor.move(%s, %s)", id, change["queue"])
        due = self.span(change["run_at"]) if "run_at" in change else None
        return self.value("select pgconductor.edit(%s, %s::text, %s, pgconductor.now() + %s::interval, %s::json)", id,
                          json.dumps(change["payload"]) if "payload" in change else None, change.get("priority"), due,
                          json.dumps(change["metadata"]) if "metadata" in change else None)

    def take_changes(self, handed):
        """handed: the runs, (id, ready_xid), that are in the node's hands."""
        shards = sorted(self.shards.values())
        for _ in range(20):
            rows = self.node.reader.execute(
                "select shard, xid, id, ready_xid, execution from pgconductor.poll_wakes(%s::int[], %s::xid8[], %s::bigint[],"
                " %s::xid8[], %s::int[]) where execution is not null",
                (shards, ["0"] * 2, [0] * 2, [ALL] * 2, [1000] * 2)).fetchall()
            if not rows:
                return
            busy = {n for n, row in enumerate(rows) if (row[4], row[3]) in handed}
            self.node.take_changes(rows, busy)
        raise Mismatch("changes come back for ever")

    def ready(self, paused, handed):
        """What is read of the queues that are not paused, in order: (id, ready_xid, attempt, task, payload, metadata)."""
        shards = [shard for queue, shard in self.shards.items() if queue not in paused]
        due = self.node.due(shards, handed)
        snapshot, _, polled = self.node.poll([(s, lane, "0", 0, ALL, 100000) for s, lane in self.node.lanes(shards)], shards)
        for row in due:
            # So old it is among the others, from now on.
            self.ages.setdefault(row[1:3], int(snapshot.split(":")[1]))
        found = [row for rows in polled for row in rows if (row[1], row[2]) not in handed] + due
        aside = [row for row in found if row[4] in paused]
        if aside:
            self.node.call("select pgconductor.park(%s, %s::xid8[], 'paused')", [r[1] for r in aside], [r[2] for r in aside])
        found = sorted((row for row in found if row[4] not in paused), key=self.place)
        return [(r[1], r[2], r[3], r[4], r[5], r[7]) for r in found]

    def place(self, row):
        timed = len(row) > 11
        return row[10], self.ages[row[1:3]] if timed else int(row[2]), row[11].timestamp() if timed else math.inf, row[1]

    def settle(self, run, outcome, wait, again, key):
        """Returns whether it was there."""
        ms = None if wait is None else int(wait * UNIT * 1000)
        if outcome == "suspended":
            there = self.value("select exists (select from pgconductor.executions where id = %s and ready_xid = %s)", *run[:2])
            self.node.suspend((run, [{"key": key, "timer_ms": ms}]))
        elif outcome == "completed" and again:
            keep = TASKS[run[3]][2] != 0
            there = self.node.settle_plain([run], keep=keep) == 1
        else:
            there = self.node.settle([run], outcome, error='{"message": "no"}', retry=again, after_ms=ms) == 1
        self.node.call("select pgconductor.forget_running(%s, %s::xid8[])", [run[0]], [run[1]])
        return there

    def expire(self):
        while self.node.call("select pgconductor.forget_keys(1000)")[0][0]:
            pass
        for keep in {t[2] for t in TASKS.values() if t[2]}:
            while self.node.call("select pgconductor.expire(%s::interval, 1000)", self.span(keep))[0][0]:
                pass

    def look(self):
        rows = self.db.execute(
            "select id, task, queue, state, waiting, priority, attempt, payload, metadata, discarded_at is not null,"
            " case when state in ('delayed', 'suspended') then round(extract(epoch from run_at - %s::timestamptz) * 4 / %s) end,"
            " case when finished_at is null then (select e.key from pgconductor.executions e where e.id = a.id) else key end"
            " from pgconductor.executions_all a",
            (self.base, UNIT)).fetchall()
        return {r[0]: {"task": r[1], "queue": r[2], "state": r[3], "waiting": r[4], "priority": r[5], "attempt": r[6],
                       "payload": r[7], "metadata": r[8], "discarded": r[9], "due": None if r[10] is None else float(r[10]) / 4,
                       "key": r[11]}
                for r in rows}


class Play:
    """One sequence, by both."""

    def __init__(self, database, still):
        self.base, self.model = database, Model()
        database.begin(still)
        # (id, ready_xid) -> the run
        self.handed, self.ids = {}, []

    def id(self, pick):
        """One of those that were made, mostly of the last ones; or one that never was."""
        known = self.ids[-12:]
        return known[pick % len(known)] if known and pick % 50 else 1 << 40

    def run(self, ops):
        for n, (name, args) in enumerate(ops):
            try:
                getattr(self, name)(*args)
            except Mismatch as error:
                raise Mismatch(f"operation {n}, {name}{args}: {error}") from None

    @staticmethod
    def same(found, expected, what):
        if found != expected:
            raise Mismatch(f"{what}: {found}, not {expected}")

    @staticmethod
    def asked(call, *args):
        """What it returns, or the SQLSTATE that it fails with."""
        try:
            return call(*args)
        except psycopg.Error as error:
            return error.sqlstate

    def invoke(self, task, o):
        found = self.asked(self.base.invoke, task, o)
        fault = self.model.fault(o)
        if fault or isinstance(found, str):
            return self.same(found, fault, "invoke")
        before = self.model.last
        expected = self.model.ask(task, o, found, self.model.tick())
        self.same(found, expected, "invoke")
        self.fresh([found], before)

    def batch(self, task, items):
        found = self.asked(self.base.batch, task, items)
        fault = next((f for f in map(self.model.fault, items) if f), None)
        if fault or isinstance(found, str):
            return self.same(found, fault, "invoke_batch")
        before = self.model.last
        self.same(found, self.model.batch(task, items, found), "invoke_batch")
        self.fresh(found, before)

    def fresh(self, found, before):
        """Ids never come again."""
        made = [id for id in dict.fromkeys(found) if id in self.model.all and id not in self.ids]
        if any(id <= before for id in made):
            raise Mismatch(f"{made} were not made after {before}")
        self.ids += made

    def edit(self, pick, change):
        id = self.id(pick)
        self.same(self.asked(self.base.change, id, change), self.model.change(id, change), f"edit({id})")

    def move(self, pick, change):
        one = self.model.all.get(self.id(pick))
        if one is None or one.task not in KEYED:
            self.edit(pick, change)

    def cancel(self, pick):
        id = self.id(pick)
        self.same(self.base.value("select pgconductor.cancel(%s)", id), self.model.cancel(id), f"cancel({id})")

    def retry(self, pick):
        id = self.id(pick)
        self.base.moment()
        self.same(self.base.value("select pgconductor.retry(%s)", id), self.model.retry(id), f"retry({id})")
        self.base.moment()

    def discard(self, pick):
        id = self.id(pick)
        self.same(self.base.value("select pgconductor.discard(%s)", id), self.model.discard(id), f"discard({id})")

    def pause(self, name, enabled=False):
        kind = "queue" if name in QUEUES else "task"
        self.same(self.base.value(f"select pgconductor.enable_{kind}(%s, %s)", name, enabled), True, "pause or resume")
        (self.model.paused.discard if enabled else self.model.paused.add)(name)

    def resume(self, name):
        self.pause(name, True)

    def clock(self, units):
        self.base.clock(units)
        self.model.now += units

    def changes(self):
        self.base.take_changes(self.handed)
        self.model.take_changes()

    def promote(self):
        self.base.node.promote()
        self.model.promote()

    def unpark(self):
        self.base.node.call("select pgconductor.unpark(%s)", sorted(self.base.shards.values()))
        self.model.unpark()

    def hand(self, n):
        runs = self.base.ready(self.model.paused, self.handed)
        expected = self.model.ready()
        self.same([(r[0], *r[2:4], json.loads(r[4]), r[5] and json.loads(r[5])) for r in runs],
                  [(e.id, e.attempt, e.task, e.payload, e.metadata) for e in expected], "ready")
        for run, one in list(zip(runs, expected))[:n]:
            self.handed[run[:2]] = run
            one.handed = True

    def busy(self, pick):
        """A run that the node has, and its execution in the model if it is still that run."""
        if not self.handed:
            return None, None
        run = list(self.handed.values())[pick % len(self.handed)]
        one = self.model.unfinished(run[0])
        return run, one if one is not None and one.handed and one.state == "ready" and self.current(run) else None

    def current(self, run):
        """Of two runs of one execution the later counts: it was cancelled and tried again."""
        return run == [r for r in self.handed.values() if r[0] == run[0]][-1]

    def note(self, pick):
        run, one = self.busy(pick)
        if one is not None:
            self.base.node.note([run], self.base.shards[one.queue])
            one.noted = True

    def settle(self, pick, outcome, wait, again, key):
        run, one = self.busy(pick)
        if run is None:
            return
        del self.handed[run[:2]]
        self.same(self.base.settle(run, outcome, wait, again, key), one is not None, f"settling {run}")
        if one is not None:
            self.model.settle(one, outcome, wait, again, key)
        self.base.moment()

    def upkeep(self):
        self.base.moment()
        self.base.expire()
        self.model.expire()

    def look(self):
        found, expected = self.base.look(), self.model.look()
        if found != expected:
            wrong = {id: (found.get(id), expected.get(id)) for id in sorted({*found, *expected})
                     if found.get(id) != expected.get(id)}
            raise Mismatch(f"executions, in the database and by the model: {wrong}")


def play(database, ops, still=True):
    """What is wrong, or None."""
    try:
        Play(database, still).run(ops)
    except Mismatch as error:
        return str(error)
    return None


def shortest(database, ops, still=True, tries=400):
    """As few of the operations as still go wrong, as far as leaving out one or several at a time leads; and what is wrong."""
    wrong, size = play(database, ops, still), max(len(ops) // 2, 1)
    while size and tries:
        at = 0
        while at < len(ops) and tries:
            tries -= 1
            shorter = ops[:at] + ops[at + size:]
            said = play(database, shorter, still)
            if said:
                ops, wrong = shorter, said
            else:
                at += size
        size //= 2
    return ops, wrong
