"""What docs/flow.md says of executions, as a model that a test runs beside the SQL.

A sequence is a list of operations, plain data that is made from a seed (`sequence`) and can be run again, also in part. `play`
does each of them twice: by the Model, in a few lines of Python, and by the Database, through the functions that clients call
and those that a node's master calls, and compares what came back, what is handed out and in which order, and in the end
every execution. Nothing of the server is needed, so thousands of sequences take minutes.

Times are in units of which the clock is moved by whole ones. What edits and failures say is a part of one, so that no two
times are the same by chance. One node owns the queues q1 and q2; nobody serves q3.
"""

import json

import psycopg

from .sqlnode import ALL, Node, declare

UNIT = 1000
QUEUES = ("q1", "q2", "q3")
OWNED = ("q1", "q2")
# task: its queue, its attempts, for how long its history is kept (None: longer than any sequence takes).
TASKS = {"a": ("q1", 3, None), "b": ("q2", 2, 3), "c": ("q1", 1, 0)}
DONE = ("completed", "failed", "cancelled")


class Mismatch(AssertionError):
    """The database does not do what the model does."""


class Execution:
    """One that is unfinished, or has history. seq: of the transaction that made it ready. handed: the node runs it."""

    def __init__(self, id, task, queue, payload, priority=0, metadata=None):
        self.id, self.task, self.queue, self.payload, self.priority = id, task, queue, payload, priority
        self.metadata = metadata
        self.state, self.due, self.seq, self.attempt = "ready", None, None, 0
        self.handed = self.noted = self.discarded = False
        self.wait = self.ended = None

    def place(self):
        return -self.priority, self.seq, self.id


class Key:
    """What a key stands for: the last execution made with it, when, and until when that counts."""

    def __init__(self, made, first, until):
        self.made, self.first, self.until = made, first, until


class Model:
    def __init__(self):
        self.now, self.seq, self.last = 0, 0, 0
        self.all, self.keys = {}, {}
        # (execution, what is to be changed, the queue in which it was)
        self.changes = []
        self.paused = set()

    def tick(self):
        self.seq += 1
        return self.seq

    def unfinished(self, id):
        one = self.all.get(id)
        return one if one is not None and one.state not in DONE else None

    def at(self, one, due, seq, later="delayed"):
        """It is ready, or will be then."""
        one.state, one.due, one.seq = ("ready", None, seq) if due <= self.now else (later, due, None)
        one.handed = one.noted = False

    # invoke and invoke_batch

    @staticmethod
    def fault(o):
        """The SQLSTATE of options that do not go together."""
        if "throttle" in o and "debounce" in o or "dedupe_for" in o and ("throttle" in o or "debounce" in o) \
                or "max_wait" in o and "debounce" not in o or "debounce" in o and ("run_at" in o or "delay" in o):
            return "PC009"
        return "PC005" if "run_at" in o and "delay" in o else None

    @staticmethod
    def key(task, o):
        """What it goes by; None: by nothing."""
        kind = "throttle" if "throttle" in o else "debounce" if "debounce" in o \
            else "dedupe" if "dedupe_key" in o or "dedupe_for" in o else None
        return kind and (kind, task, o.get("queue", TASKS[task][0]), o.get("dedupe_key", task))

    def counts(self, kind, key):
        if kind == "throttle":
            return key.until > self.now
        if kind == "debounce":
            one = self.unfinished(key.made)
            return one is not None and one.state == "delayed" and one.due == key.until
        return self.unfinished(key.made) is not None \
            or (key.made in self.all if key.until is None else key.until > self.now)

    def ask(self, task, o, new, seq):
        """One invoke; new: the id of what it makes, if it makes anything. Returns the id."""
        name = self.key(task, o)
        kind = name and name[0]
        key = self.keys.get(name)
        if key is not None and self.counts(kind, key):
            if kind == "throttle":
                return None
            if kind == "debounce":
                one = self.all[key.made]
                one.payload, one.priority, one.metadata = o["payload"], o.get("priority", 0), o.get("metadata")
                key.until = min(self.now + o["debounce"], key.first + o.get("max_wait", 1e9))
                self.at(one, key.until, seq)
            return key.made
        if new is None:
            raise Mismatch(f"{task} {o} made nothing")
        one = Execution(new, task, o.get("queue", TASKS[task][0]), o["payload"], o.get("priority", 0), o.get("metadata"))
        due = self.now + o.get("delay", o.get("run_at", 0))
        if kind:
            span = o.get("throttle", o.get("debounce", o.get("dedupe_for")))
            self.keys[name] = Key(new, self.now, None if span is None else self.now + min(span, o.get("max_wait", 1e9)))
            if kind == "debounce":
                due = self.keys[name].until
        self.at(one, due, seq)
        self.all[new] = one
        self.last = max(self.last, new)
        return new

    def batch(self, task, items, answers):
        """answers: what the database said; the ids of what is new are taken from there."""
        seq, said = self.tick(), [None] * len(items)
        names = [self.key(task, o) for o in items]
        for n, o in enumerate(items):
            # Of a burst only the last of the batch counts.
            if names[n] and names[n][0] == "debounce" and names[n] in names[n + 1:]:
                continue
            said[n] = self.ask(task, o, answers[n], seq)
        for n in reversed(range(len(items))):
            if names[n] and names[n][0] == "debounce" and names[n] in names[n + 1:]:
                said[n] = said[names.index(names[n], n + 1)]
        return said

    # What clients do with those that there are

    def change(self, id, change):
        one = self.unfinished(id)
        if one is None:
            return False
        if one.state == "suspended" and "run_at" in change:
            return "PC009"
        if one.noted:
            return False
        if "run_at" in change:
            change = change | {"run_at": self.now + change["run_at"]}
        if one.state == "ready" and one.queue in OWNED:
            self.changes.append((id, change, one.queue))
        else:
            self.apply(one, change, self.tick())
        return True

    def apply(self, one, change, seq):
        moved = change.get("queue", one.queue) != one.queue
        for name in ("payload", "metadata", "priority", "queue"):
            setattr(one, name, change.get(name, getattr(one, name)))
        if one.state == "parked":
            if change.get("run_at", 0) > self.now:
                self.at(one, change["run_at"], seq)
            elif moved:
                self.at(one, self.now, seq)
        elif one.state != "suspended":
            self.at(one, change.get("run_at", self.now if one.state == "ready" else one.due), seq)

    def cancel(self, id):
        one = self.unfinished(id)
        if one is None:
            return False
        self.finish(one, "cancelled", one.attempt + one.noted)
        return True

    def finish(self, one, state, attempt):
        one.state, one.attempt, one.ended = state, attempt, self.now
        one.handed = one.noted = one.discarded = False
        if TASKS[one.task][2] == 0:
            del self.all[one.id]

    def retry(self, id):
        one = self.all.get(id)
        if one is None or one.state not in DONE:
            return False
        one.attempt, one.discarded = 0, False
        self.at(one, self.now, self.tick())
        return True

    def discard(self, id):
        one = self.all.get(id)
        if one is None or one.state != "failed" or one.discarded:
            return False
        one.discarded = True
        return True

    # What the node does

    def take_changes(self):
        """Until there are none: what was moved meanwhile is changed by who has it now."""
        while any(at in OWNED for _, _, at in self.changes):
            seq, due, self.changes = self.tick(), self.changes, []
            for id, change, at in due:
                one = self.unfinished(id)
                if at not in OWNED or one is not None and one.queue != at:
                    self.changes.append((id, change, at if at not in OWNED else one.queue))
                elif one is not None and not one.handed:
                    self.apply(one, change, seq)

    def promote(self):
        seq = self.tick()
        for one in self.all.values():
            if one.state in ("delayed", "suspended") and one.due <= self.now and one.queue in OWNED:
                self.at(one, one.due, seq)

    def unpark(self):
        seq = self.tick()
        for one in self.all.values():
            if one.state == "parked" and one.task not in self.paused and one.queue in OWNED:
                self.at(one, self.now, seq)

    def ready(self):
        """What may be handed out, in order; what of it is paused is put aside."""
        found = [one for one in self.all.values() if one.state == "ready" and not one.handed
                 and one.queue in OWNED and one.queue not in self.paused]
        for one in found:
            if one.task in self.paused:
                one.state = "parked"
        return sorted((one for one in found if one.state == "ready"), key=Execution.place)

    def settle(self, one, outcome, wait, again, key):
        seq = self.tick()
        if outcome == "suspended":
            self.at(one, self.now + wait, seq, "suspended")
            one.wait = key
        elif outcome == "deferred":
            self.at(one, self.now + wait, seq)
        elif outcome == "failed" and again and one.attempt + 1 < TASKS[one.task][1]:
            one.attempt += 1
            self.at(one, self.now + wait, seq)
        else:
            self.finish(one, outcome, one.attempt + 1)

    def expire(self):
        for one in list(self.all.values()):
            keep = TASKS[one.task][2]
            if one.state in DONE and keep is not None and one.ended + keep <= self.now:
                del self.all[one.id]

    def look(self):
        """Every execution, as executions_all shows it."""
        return {one.id: self.shown(one) for one in self.all.values()}

    def shown(self, one):
        state = "running" if one.noted else "ready" if one.state == "parked" else one.state
        held = one.state == "parked" or state == "ready" and {one.task, one.queue} & self.paused
        return {"task": one.task, "queue": one.queue, "state": state,
                "waiting": "paused" if held else one.wait if one.state == "suspended" else None,
                "priority": one.priority, "attempt": one.attempt + one.noted, "payload": one.payload,
                "metadata": one.metadata, "discarded": one.discarded,
                "due": one.due if state in ("delayed", "suspended") else None}


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
            declare(self.db, task, queue, max_attempts=attempts, **kept)
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
        lanes = self.node.reader.execute("select distinct shard, lane from pgconductor.lanes where shard = any (%s)",
                                         (shards,)).fetchall()
        found = [row for rows in self.node.poll([(s, lane, "0", 0, ALL, 100000) for s, lane in lanes], shards)[2] for row in rows
                 if (row[1], row[2]) not in handed]
        aside = [row for row in found if row[4] in paused]
        if aside:
            self.node.call("select pgconductor.park(%s, %s::xid8[], 'paused')", [r[1] for r in aside], [r[2] for r in aside])
        found = sorted((row for row in found if row[4] not in paused), key=lambda r: (r[10], int(r[2]), r[1]))
        return [(r[1], r[2], r[3], r[4], r[5], r[7]) for r in found]

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
            " case when state in ('delayed', 'suspended') then round(extract(epoch from run_at - %s::timestamptz) * 4 / %s) end"
            " from pgconductor.executions_all", (self.base, UNIT)).fetchall()
        return {r[0]: {"task": r[1], "queue": r[2], "state": r[3], "waiting": r[4], "priority": r[5], "attempt": r[6],
                       "payload": r[7], "metadata": r[8], "discarded": r[9], "due": None if r[10] is None else float(r[10]) / 4}
                for r in rows}


# Sequences

KINDS = ("none", "none", "dedupe", "throttle", "debounce", "wild")


def options(dice, payload, about):
    """Those of one invoke, most of them of one kind."""
    o = {"payload": payload}

    def maybe(name, chance, values):
        if dice.random() < chance:
            o[name] = dice.choice(values)
    maybe("queue", 0.1 if about else 0.3, ("q1", "q2", "q2", "q3"))
    maybe("priority", 0.4, (-2, -1, 1, 2))
    maybe("metadata", 0.2, ({"m": payload}, ["m"]))
    kind = about if about and dice.random() < 0.8 else dice.choice(KINDS)
    if kind == "wild" and dice.random() < 0.7:
        kind = "none"
    maybe("dedupe_key", {"dedupe": 0.8, "none": 0}.get(kind, 0.3), ("k",) if about else ("k", "l"))
    if kind == "dedupe":
        if "dedupe_key" not in o or dice.random() < 0.5:
            o["dedupe_for"] = dice.choice((0, 1, 2, 3))
    for name in ("throttle", "debounce"):
        if kind == name:
            o[name] = dice.choice((1, 2, 3))
    if kind == "wild":
        for name in ("dedupe_for", "throttle", "debounce", "max_wait"):
            maybe(name, 0.4, (1, 2))
    if kind == "debounce":
        maybe("max_wait", 0.6, (1, 2, 4))
    else:
        maybe("delay", 0.15, (0, 1, 2, 3))
        maybe("run_at", 0.15, (-1, 1, 2, 3))
        # Both is a fault; two faults at once are more than the model knows.
        if "run_at" in o and (kind != "none" or dice.random() < 0.8):
            o.pop("delay", None)
    return o


def sequence(dice, length):
    """Operations: a name and what it is given. Executions are named by numbers that pick one of those that there are."""
    names = iter(range(1, 1 << 30))
    ops = []

    def pick():
        return dice.randrange(1 << 16)

    def edit():
        change = {}
        for name, values in (("payload", (next(names),)), ("priority", (-2, -1, 1, 2)), ("run_at", (-0.5, 0.5, 1.5, 2.5)),
                             ("metadata", ({"e": 1}, "e"))):
            if dice.random() < 0.4:
                change[name] = dice.choice(values)
        return pick(), change or {"payload": next(names)}

    # Each sequence is about something: some options, some tasks, some of what is done.
    about = dice.choice((None, None, "dedupe", "throttle", "debounce"))
    tasks = dice.choice((("a",), ("a", "b"), ("a", "b", "c"), ("b",), ("c",)))
    kinds = {
        "invoke": (10, lambda: (dice.choice(tasks), options(dice, next(names), about))),
        "batch": (2, lambda: (dice.choice(tasks), [options(dice, next(names), about) for _ in range(dice.randrange(1, 6))])),
        "edit": (4, edit),
        "move": (2, lambda: (pick(), {"queue": dice.choice(QUEUES)})),
        "cancel": (1.5, lambda: (pick(),)),
        "retry": (1.5, lambda: (pick(),)),
        "discard": (1, lambda: (pick(),)),
        "pause": (0.7, lambda: (dice.choice(("a", "b", "q1", "q2")),)),
        "resume": (0.7, lambda: (dice.choice(("a", "b", "q1", "q2")),)),
        "clock": (4, lambda: (dice.choice((1, 1, 1, 2, 3)),)),
        "changes": (2, tuple),
        "promote": (3, tuple),
        "unpark": (1, tuple),
        "hand": (5, lambda: (dice.randrange(0, 4),)),
        "note": (1, lambda: (pick(),)),
        "settle": (5, lambda: (pick(), *dice.choice((
            ("completed", None, True), ("completed", None, False), ("failed", dice.choice((0, 0.25, 1.25)), True),
            ("failed", 0.25, True), ("failed", None, False), ("deferred", dice.choice((0, 0.25, 1.25)), True),
            ("suspended", dice.choice((0.25, 1.25)), True))), f"w{next(names)}")),
        "upkeep": (0.7, tuple),
        "look": (0.7, tuple),
    }
    for name in dice.choices(list(kinds), [weight * dice.choice((0.5, 1, 1, 4)) for weight, _ in kinds.values()], k=length):
        ops.append((name, kinds[name][1]()))
    # In the end everything runs.
    return ops + [("resume", (name,)) for name in ("a", "b", "q1", "q2")] \
        + [(name, ()) for name in ("look", "changes", "unpark")] + [("clock", (20,)), ("promote", ()), ("hand", (1000,))] \
        + [("settle", (n, "completed", None, True, "end")) for n in range(6)] + [("look", ())]


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

    move = edit

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
