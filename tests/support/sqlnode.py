"""A node without a master: the engine's SQL functions, called the way the master calls them."""

import json

ALL = "18446744073709551615"
SESSION_MS = 60000


def session(connect, role, timeout_ms=SESSION_MS):
    """A connection set up for one of the master's roles."""
    conn = connect(prepare_threshold=0)
    conn.execute("select pgconductor.setup_session(%s, %s)", (role, timeout_ms))
    return conn


def declare(db, task="work", queue=None, **options):
    db.execute("select pgconductor.declare_task(%s, %s, %s::json)", (task, queue, json.dumps(options)))


def invoke(db, task="work", payload="{}", **options):
    names = "".join(f", {name} => %s" for name in options)
    return db.execute(f"select pgconductor.invoke(%s, %s{names})", (task, payload, *options.values())).fetchone()[0]


def one(db, query, *args):
    """The only row."""
    rows = db.execute(query, args or None).fetchall()
    assert len(rows) == 1, rows
    return rows[0]


def row_of(db, execution):
    """The unfinished row, as a dict; None when there is none."""
    found = db.execute("select to_json(e)::text from pgconductor.executions e where id = %s", (execution,)).fetchone()
    return json.loads(found[0]) if found else None


class Node:
    """One node: its writer and reader, and the shards it has taken."""

    def __init__(self, connect, timeout_ms=SESSION_MS, pid=1):
        self.connect = connect
        self.writer = session(connect, "writer", timeout_ms)
        self.reader = session(connect, "reader", timeout_ms)
        self.timeout_ms = timeout_ms
        row = self.call("select node_id, backend_pid, backend_start, max_payload, poll_interval_ms"
                        " from pgconductor.attach_node(null, 'test', %s, '0')", pid)[0]
        self.id, self.backend_pid, self.backend_start, self.max_payload, self.poll_interval_ms = row
        # A schema that is to be upgraded may not have it.
        self.reads_due = self.call("select exists (select from pg_proc where proname = 'poll_due')")[0][0]
        self.epochs = {}
        self.floors = {}
        self.taken = {}

    def call(self, query, *args):
        return self.writer.execute(query, args or None).fetchall()

    def serve(self, *serves, queues=None):
        queues = queues if queues is not None else sorted({s.split("/")[0] for s in serves})
        self.call("select pgconductor.serve(%s, %s, %s)", self.id, queues, list(serves))
        return self

    def balance(self, settled=True):
        return self.call("select shard, queue, action from pgconductor.balance(%s, %s, %s)", self.id, self.timeout_ms,
                         settled)

    def lock(self, shards):
        return [s for s, locked in self.call("select shard, locked from pgconductor.lock_shards(%s)", shards) if locked]

    def take(self, shards, epochs=None):
        rows = self.call("select shard, queue, epoch, floor, unclean, xmax from pgconductor.take(%s, %s, %s)", self.id,
                         shards, epochs or [0] * len(shards))
        for shard, _, epoch, floor, unclean, xmax in rows:
            self.epochs[shard] = epoch
            self.floors[shard] = floor
            self.taken[shard] = (unclean, xmax)
        return rows

    def settle_in(self):
        """Take what balance says; returns the shards."""
        shards = self.lock([s for s, _, action in self.balance() if action == "take"])
        if shards:
            self.take(shards)
        return sorted(shards)

    def give(self):
        """Give up what balance says, in good order."""
        shards = [s for s, _, action in self.balance() if action == "give"]
        if shards:
            self.call("select pgconductor.release(%s, %s, %s::xid8[])", self.id, shards, [self.floors[s] for s in shards])
            self.call("select pgconductor.unlock_shards(%s)", shards)
            for s in shards:
                del self.epochs[s]
        return sorted(shards)

    def poll(self, ranges, owned=None):
        """ranges: (shard, lane, xid, id, until, limit). Returns (snapshot, unknown lanes, rows by range)."""
        columns = [list(c) for c in zip(*ranges)] if ranges else [[]] * 6
        rows = self.reader.execute(
            "select entry, id, ready_xid, attempt, task, payload::text, payload_len, metadata::text, event, shard, lane"
            " from pgconductor.poll(%s::int[], %s::int[], %s::int[], %s::xid8[], %s::bigint[], %s::xid8[], %s::int[])",
            (sorted(self.epochs) if owned is None else owned, columns[0], columns[1], columns[2], columns[3], columns[4],
             columns[5])).fetchall()
        snapshot = [r[4] for r in rows if r[0] == 0]
        assert len(snapshot) == 1
        lanes = sorted((r[9], r[10]) for r in rows if r[0] == -1)
        return snapshot[0], lanes, [[r for r in rows if r[0] == n + 1] for n in range(len(ranges))]

    def lanes(self, shards=None):
        return self.reader.execute("select distinct shard, lane from pgconductor.lanes where shard = any (%s)",
                                   (sorted(self.epochs) if shards is None else shards,)).fetchall()

    def poll_due(self, ranges):
        """ranges: (shard, lane, run_at, id, limit). Returns (rows by range, each with run_at and touched; next_due_ms by range)."""
        columns = [list(c) for c in zip(*ranges)] if ranges else [[]] * 5
        rows = self.reader.execute(
            "select entry, id, ready_xid, attempt, task, payload::text, payload_len, metadata::text, event, shard, lane, run_at,"
            " touched, next_due_ms from pgconductor.poll_due(%s::int[], %s::int[], %s::timestamptz[], %s::bigint[], %s::int[])",
            columns).fetchall()
        return ([[r[:13] for r in rows if r[0] == n + 1] for n in range(len(ranges))],
                [next((r[13] for r in rows if r[0] == -n - 1), None) for n in range(len(ranges))])

    def due(self, shards=None, handed=()):
        """The delayed runs that are due, as poll has them; what somebody has touched is made ready, unless it was handed out."""
        if not self.reads_due:
            return []
        rows = [r for rs in self.poll_due([(s, lane, "-infinity", 0, 1000000) for s, lane in self.lanes(shards)])[0] for r in rs
                if (r[1], r[2]) not in handed]
        touched = [r for r in rows if r[12]]
        if touched:
            self.call("select pgconductor.make_ready(%s::bigint[], %s::xid8[])", [r[1] for r in touched], [r[2] for r in touched])
        return sorted((r for r in rows if not r[12]), key=lambda r: (r[11], r[1]))

    def ready(self):
        """Every run of the node's shards that may be handed out, as (id, ready_xid, attempt), in order of their becoming ready;
        those last that are due."""
        due = self.due()
        rows = self.poll([(s, lane, "0", 0, ALL, 1000000) for s, lane in self.lanes()])[2]
        return sorted(((r[1], r[2], r[3]) for rs in rows for r in rs), key=lambda r: (int(r[1]), r[0])) + [r[1:4] for r in due]

    def settle_plain(self, runs, result=None, keep=True, took_ms=1):
        n = len(runs)
        return self.call("select pgconductor.settle_plain(%s::bigint[], %s::xid8[], %s::json[], %s::boolean[], %s::int[], %s)",
                         [r[0] for r in runs], [r[1] for r in runs], [result] * n, [keep] * n, [took_ms] * n,
                         self.id)[0][0]

    def _full(self, function, runs, outcome, result, error, retry, after_ms, took_ms):
        n = len(runs)
        outcomes = outcome if isinstance(outcome, list) else [outcome] * n
        return self.call(f"select pgconductor.{function}(%s::bigint[], %s::xid8[], %s::text[], %s::json[], %s::json[],"
                         " %s::boolean[], %s::bigint[], %s::int[], %s)", [r[0] for r in runs], [r[1] for r in runs],
                         outcomes, [result] * n, [error] * n, [retry] * n, [after_ms] * n, [took_ms] * n, self.id)[0][0]

    def settle(self, runs, outcome="completed", result=None, error=None, retry=True, after_ms=None, took_ms=1):
        return self._full("settle_full", runs, outcome, result, error, retry, after_ms, took_ms)

    def settle_locked(self, runs, outcome="completed", result=None, error=None, retry=True, after_ms=None, took_ms=1):
        return self._full("settle_locked", runs, outcome, result, error, retry, after_ms, took_ms)

    def note(self, runs, shard=None, program="app", pid=77, age_ms=None):
        n = len(runs)
        shards = [shard or self.call("select shard from pgconductor.executions where id = %s", r[0])[0][0] for r in runs]
        self.call("select pgconductor.note_running(%s::bigint[], %s::xid8[], %s::int[], %s::int[], %s::text[], %s::int[],"
                  " %s, %s::int[])", [r[0] for r in runs], [r[1] for r in runs], shards, [r[2] + 1 for r in runs],
                  [program] * n, [pid] * n, self.id, [age_ms] * n)

    def promote(self, after=None, most=10000):
        return self.call("select promoted, upto, next_due_ms from pgconductor.promote(%s, %s, %s)", sorted(self.epochs),
                         after, most)[0]

    def save(self, run, steps, again=False):
        """steps: {key: JSON text} or pairs of one run. Returns what became of each."""
        pairs = list(steps.items() if isinstance(steps, dict) else steps)
        return self.save_steps([(run, key, result) for key, result in pairs], again)

    def save_steps(self, rows, again=False):
        """rows: (run, key, JSON text)."""
        return self.call("select pgconductor.save_steps(%s::bigint[], %s::xid8[], %s::text[], %s::json[], %s)",
                         [r[0][0] for r in rows], [r[0][1] for r in rows], [r[1] for r in rows], [r[2] for r in rows],
                         again)[0][0]

    def steps(self, *runs, after=0, most=1 << 20):
        """What runs have remembered: (id, pos, key, result, error, more)."""
        return self.reader.execute(
            "select id, pos, key, result::text, error::text, more from pgconductor.steps_of(%s::bigint[], %s::xid8[],"
            " %s::bigint[], %s)", ([r[0] for r in runs], [r[1] for r in runs], [after] * len(runs), most)).fetchall()

    def journal(self, run):
        """The outcomes of one run by their keys: JSON of the result, or {"error": code}."""
        return {r[2]: {"error": json.loads(r[4]).get("code")} if r[4] else json.loads(r[3] or "null") for r in self.steps(run)}

    def suspend(self, *given):
        """given: (run, waits, any, timeout_ms), the last two may be missing; waits as in SUSPEND.

        Returns the positions left locked, and (position, key) of those that use a key wrongly."""
        given = [tuple(g) + (None, None)[len(g) - 2:] for g in given]
        waits = [(n, w) for n, g in enumerate(given, 1) for w in g[1]]
        names = ("timer_ms", "task", "queue", "payload", "priority", "timeout_ms", "event", "filter", "since")
        columns = [[w.get(name) for _, w in waits] for name in names]
        for name in ("change", "metadata"):
            columns.append([json.dumps(w[name]) if name in w else None for _, w in waits])
        rows = self.call(
            "select pos, used from pgconductor.suspend_runs(%s::bigint[], %s::xid8[], %s::boolean[], %s::bigint[], %s::int[],"
            " %s::text[], %s::bigint[], %s::text[], %s::text[], %s::json[], %s::int[], %s::bigint[], %s::text[], %s::text[], %s::text[],"
            " %s::json[], %s::json[])",
            [g[0][0] for g in given], [g[0][1] for g in given], [g[2] for g in given], [g[3] for g in given],
            [n for n, _ in waits], [w["key"] for _, w in waits], *columns)
        return [pos if used is None else (pos, used) for pos, used in rows]

    def dispatch(self, limit=1000, made=10000, careful=False):
        """One call of dispatch(): (events, made, woken, more, complaints)."""
        return self.call("select events, made, woken, more, complaints from pgconductor.dispatch(%s, %s, %s)", limit, made,
                         careful)[0]

    def dispatch_all(self, limit=1000, careful=False):
        """Dispatch until nothing is due; returns (events, made, woken) in all."""
        total = [0, 0, 0]
        while one(self.reader, "select pgconductor.events_due()")[0]:
            before = one(self.reader, "select to_json(d)::text from pgconductor.dispatched d")
            total = [a + b for a, b in zip(total, self.dispatch(limit, careful=careful))]
            assert before != one(self.reader, "select to_json(d)::text from pgconductor.dispatched d"), "no progress"
        return tuple(total)

    def wakes(self, limit=1000000):
        """The wakes of the node's shards, from the beginning: (shard, xid, id)."""
        shards = sorted(self.epochs)
        rows = self.reader.execute(
            "select entry, shard, xid, id, snapshot from pgconductor.poll_wakes(%s::int[], %s::xid8[], %s::bigint[],"
            " %s::xid8[], %s::int[])", (shards, ["0"] * len(shards), [0] * len(shards), [ALL] * len(shards),
                                        [limit] * len(shards))).fetchall()
        assert sum(r[0] == 0 for r in rows) == 1
        return [r[1:4] for r in rows if r[0] > 0]

    def take_wakes(self, wakes=None):
        """Returns the positions left locked."""
        wakes = self.wakes() if wakes is None else wakes
        return self.call("select pgconductor.take_wakes(%s::int[], %s::xid8[], %s::bigint[])", [w[0] for w in wakes],
                         [w[1] for w in wakes], [w[2] for w in wakes])[0][0]

    def changes(self):
        """The wakes that have a change: (shard, xid, id, ready_xid of its execution)."""
        shards = sorted(self.epochs)
        n = len(shards)
        return self.reader.execute(
            "select shard, xid, id, ready_xid from pgconductor.poll_wakes(%s::int[], %s::xid8[], %s::bigint[], %s::xid8[], %s::int[])"
            " where execution is not null", (shards, ["0"] * n, [0] * n, [ALL] * n, [1000000] * n)).fetchall()

    def take_changes(self, changes=None, busy=()):
        """busy: positions (from 0) of those whose run was handed out. Returns (position from 1, gone, again)."""
        changes = self.changes() if changes is None else changes
        return self.call("select pos, gone, again from pgconductor.take_changes(%s::int[], %s::xid8[], %s::bigint[], %s::xid8[],"
                         " %s::boolean[])", *([c[i] for c in changes] for i in range(4)),
                         [n in busy for n in range(len(changes))])

    def run_of(self, execution):
        """The ready run of an execution; None when it is not ready."""
        found = [r for r in self.ready() if r[0] == execution]
        return found[0] if found else None

    def token(self, run):
        shard = self.call("select shard from pgconductor.executions where id = %s", run[0])[0][0]
        return f"{run[1]}.{self.epochs[shard]}.{self.id}"

    def run_all(self, **options):
        """Settle whatever is ready; returns the ids."""
        runs = self.ready()
        if runs:
            self.settle(runs, **options)
        return [r[0] for r in runs]

    def die(self):
        """The connections end, as when the process is killed."""
        self.writer.close()
        self.reader.close()


def owner_of(db, connect, *tasks):
    """A node that serves these, new ones, in a queue of one shard, and owns that."""
    db.execute("select pgconductor.ensure_queue('default', 1)")
    for task in tasks:
        declare(db, task)
    made = Node(connect).serve(*(f"default/{task}" for task in tasks))
    made.settle_in()
    return made
