"""What docs/flow.md says of executions, as a model that a test runs beside the SQL, see flow_play.py; and sequences of operations,
plain data that is made from a seed, and can be run again, also in part.

Times are in units of which the clock is moved by whole ones. What edits and failures say is a part of one, so that no two
times are the same by chance. One node owns the queues q1 and q2; nobody serves q3, where the executions of the task d are, which
have keys.
"""

import hashlib
import json

QUEUES = ("q1", "q2", "q3")
OWNED = ("q1", "q2")
# task: its queue, its attempts, for how long its history is kept (None: longer than any sequence takes).
TASKS = {"a": ("q1", 3, None), "b": ("q2", 2, 3), "c": ("q1", 1, 0), "d": ("q3", 3, None)}
KEYED = ("d",)
PRIORITY = {"b": 1}
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
        # It is read when its time has come; the others that wait for a time are made ready then.
        self.timed = False

    def place(self):
        return -self.priority, self.seq, self.due or 0, self.id

    def is_due(self, now):
        return self.state == "delayed" and self.timed and self.due <= now

    def key(self):
        """What stands under "k" of the payload, as text; of a long one the beginning, and what stands for the rest."""
        if self.task not in KEYED:
            return None
        value = self.payload.get("k") if isinstance(self.payload, dict) else None
        text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        return text if len(text.encode()) <= 200 else text[:40] + hashlib.md5(text.encode()).hexdigest()


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

    def at(self, one, due, seq, later="delayed", timed=False):
        """It is ready, or will be then."""
        one.timed = timed
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

    @staticmethod
    def priority(task, o):
        return o.get("priority", PRIORITY.get(task, 0))

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
                one.payload, one.priority, one.metadata = o["payload"], self.priority(task, o), o.get("metadata")
                key.until = min(self.now + o["debounce"], key.first + o.get("max_wait", 1e9))
                self.at(one, key.until, seq)
            return key.made
        if new is None:
            raise Mismatch(f"{task} {o} made nothing")
        one = Execution(new, task, o.get("queue", TASKS[task][0]), o["payload"], self.priority(task, o), o.get("metadata"))
        due = self.now + o.get("delay", o.get("run_at", 0))
        if kind:
            span = o.get("throttle", o.get("debounce", o.get("dedupe_for")))
            self.keys[name] = Key(new, self.now, None if span is None else self.now + min(span, o.get("max_wait", 1e9)))
            if kind == "debounce":
                due = self.keys[name].until
        self.at(one, due, seq, timed=kind != "debounce" and task not in KEYED)
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
        if (one.state == "ready" or one.is_due(self.now)) and one.queue in OWNED:
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
            if one.state in ("delayed", "suspended") and not one.timed and one.due <= self.now and one.queue in OWNED:
                self.at(one, one.due, seq)

    def unpark(self):
        seq = self.tick()
        for one in self.all.values():
            if one.state == "parked" and one.task not in self.paused and one.queue in OWNED:
                self.at(one, self.now, seq)

    def ready(self):
        """What may be handed out, in order; what of it is paused is put aside."""
        found = [one for one in self.all.values() if (one.state == "ready" or one.is_due(self.now)) and not one.handed
                 and one.queue in OWNED and one.queue not in self.paused]
        for one in found:
            if one.state == "delayed":
                # As old as what is made ready from now on, and before that.
                one.state, one.seq = "ready", self.seq + 0.5
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
        state = "running" if one.noted else "ready" if one.state == "parked" or one.is_due(self.now) else one.state
        held = one.state == "parked" or state == "ready" and {one.task, one.queue} & self.paused
        return {"task": one.task, "queue": one.queue, "state": state,
                "waiting": "paused" if held else one.wait if one.state == "suspended" else None,
                "priority": one.priority, "attempt": one.attempt + one.noted, "payload": one.payload,
                "key": one.key(), "metadata": one.metadata, "discarded": one.discarded,
                "due": one.due if state in ("delayed", "suspended") else None}


# Sequences

KINDS = ("none", "none", "dedupe", "throttle", "debounce", "wild")
VALUES = ("x", "x", "y", "", 7, 2.5, None, True, {"z": [1]}, "\u00e9\n\"\\", "long" * 99)


def payload(dice, n):
    """Each another one; half of them with something for a key."""
    return n if dice.random() < 0.5 else {"n": n, "k": dice.choice(VALUES)} if dice.random() < 0.9 else {"n": n}


def options(dice, task, n, about):
    """Those of one invoke, most of them of one kind."""
    o = {"payload": payload(dice, n)}

    def maybe(name, chance, values):
        if dice.random() < chance:
            o[name] = dice.choice(values)
    maybe("queue", 0 if task in KEYED else 0.1 if about else 0.3, ("q1", "q2", "q2", "q3"))
    maybe("priority", 0.4, (-2, -1, 0, 2))
    maybe("metadata", 0.2, ({"m": n}, ["m"]))
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
        for name, values in (("payload", (payload(dice, next(names)),)), ("priority", (-2, -1, 1, 2)),
                             ("run_at", (-0.5, 0.5, 1.5, 2.5)), ("metadata", ({"e": 1}, "e"))):
            if dice.random() < 0.4:
                change[name] = dice.choice(values)
        return pick(), change or {"payload": next(names)}

    # Each sequence is about something: some options, some tasks, some of what is done.
    about = dice.choice((None, None, "dedupe", "throttle", "debounce"))
    tasks = dice.choice((("a",), ("a", "b"), ("a", "b", "c"), ("b",), ("c",), ("d",), ("a", "d")))

    def invoke(most):
        task = dice.choice(tasks)
        return task, [options(dice, task, next(names), about) for _ in range(dice.randrange(1, most + 1))]
    kinds = {
        "invoke": (10, lambda: (lambda task, items: (task, items[0]))(*invoke(1))),
        "batch": (2, lambda: invoke(5)),
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
    often = {"retry", "upkeep", "cancel"} if about == "dedupe" else {"clock"}
    weights = [weight * dice.choice((0.5, 1, 1, 4)) * (2 if name in often else 1) for name, (weight, _) in kinds.items()]
    for name in dice.choices(list(kinds), weights, k=length):
        ops.append((name, kinds[name][1]()))
    # In the end everything runs.
    return ops + [("resume", (name,)) for name in ("a", "b", "q1", "q2")] \
        + [(name, ()) for name in ("look", "changes", "unpark")] + [("clock", (20,)), ("promote", ()), ("hand", (1000,))] \
        + [("settle", (n, "completed", None, True, "end")) for n in range(6)] + [("look", ())]
