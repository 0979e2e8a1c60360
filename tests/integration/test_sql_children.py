"""Children: many of them, deep ones, cancelling trees, moved parents, several owners, and everything at once."""

import json
import random
import threading
import time

import psycopg
import pytest

from support.sqlnode import ALL, Node, declare, invoke, one, row_of


def make_node(db, connect, shards=1):
    db.execute("select pgconductor.ensure_queue('default', %s)", (shards,))
    declare(db)
    node = Node(connect).serve("default/work")
    node.settle_in()
    return node


@pytest.fixture
def node(db, connect):
    return make_node(db, connect)


def child(key, task="work", **options):
    return {"key": key, "task": task, **options}


def count(db, table, where="true"):
    return one(db, f"select count(*) from pgconductor.{table} where {where}")[0]


def take_all(*nodes):
    """Until nobody has anything to take."""
    while any([(n.wakes() and n.take_wakes() == []) for n in nodes]):
        pass


def states(db):
    return dict(db.execute("select state, count(*) from pgconductor.executions_all group by 1").fetchall())


def test_ten_thousand_children(db, connect):
    node = make_node(db, connect, 4)
    made = invoke(db)
    began = time.monotonic()
    node.suspend((node.run_of(made), [child(f"item {i}", payload=str(i)) for i in range(10000)]))
    assert row_of(db, made)["pending"] == 10000
    assert db.execute("select count(*) from pgconductor.executions where parent = %s group by shard", (made,)).fetchall() == [(2500,)] * 4
    while runs := [r for r in node.ready() if r[0] != made]:
        for n in range(0, len(runs), 2000):
            node.settle(runs[n:n + 2000], result="1")
            wakes = node.wakes()
            node.take_wakes(wakes[:1500])
            node.take_wakes(wakes[1500:])
    run = node.run_of(made)
    seen, after = 0, 0
    while rows := node.steps(run, after=after):
        seen, after = seen + len(rows), rows[-1][1]
    assert seen == 10000 and node.wakes() == []
    assert node.settle([run]) == 1
    assert states(db) == {"completed": 10001} and count(db, "steps") == 0
    assert one(db, "select cardinality(steps) from pgconductor.finished_executions where id = %s", made) == (10000,)
    assert time.monotonic() - began < 60


def test_ten_thousand_are_cancelled_with_their_parent(db, node):
    made = invoke(db)
    node.suspend((node.run_of(made), [child(str(i)) for i in range(10000)]))
    began = time.monotonic()
    assert db.execute("select pgconductor.cancel(%s)", (made,)).fetchone() == (True,)
    assert states(db) == {"cancelled": 10001} and time.monotonic() - began < 30
    assert [count(db, t) for t in ("executions", "steps", "wakes", "running")] == [0] * 4


def test_they_are_cancelled_while_they_end(db, connect, node, seed):
    """Their owner writes their outcomes in an order of its own, with a short lock_timeout: neither stops the other for long,
    and no deadlock has to be found."""
    made = invoke(db)
    node.suspend((node.run_of(made), [child(str(i)) for i in range(10000)]))
    runs = [r for r in node.ready() if r[0] != made]
    random.Random(seed).shuffle(runs)
    failures, began = [], threading.Event()

    def settle():
        try:
            for at in range(0, len(runs), 200):
                part = runs[at:at + 200]
                try:
                    node.settle(part, result="1")
                except psycopg.errors.LockNotAvailable:
                    node.settle_locked(part, result="1")
                if at == 1000:
                    began.set()
        except Exception as error:  # noqa: BLE001
            failures.append(error)
            began.set()
    owner = threading.Thread(target=settle)
    owner.start()
    began.wait()
    start = time.monotonic()
    assert db.execute("select pgconductor.cancel(%s)", (made,)).fetchone() == (True,)
    took = time.monotonic() - start
    owner.join()
    take_all(node)
    assert not failures and took < 15, (failures, took)
    found = states(db)
    assert found["completed"] >= 1000 and found["completed"] + found["cancelled"] == 10001
    assert [count(db, t) for t in ("executions", "steps", "wakes", "running")] == [0] * 4


def deepen(db, node, depth):
    made = [invoke(db)]
    for _ in range(depth):
        node.suspend((node.run_of(made[-1]), [child("down")]))
        made.append(one(db, "select id from pgconductor.executions where parent = %s", made[-1])[0])
    return made


def test_a_hundred_deep(db, node):
    made = deepen(db, node, 100)
    for i in reversed(made):
        node.settle([node.run_of(i)], result=str(i))
        take_all(node)
    assert states(db) == {"completed": 101}
    assert one(db, "select (steps[1]).result::text from pgconductor.finished_executions where id = %s", made[0]) == (str(made[1]),)


def test_cancelling_from_the_top_and_from_the_middle(db, node):
    made = deepen(db, node, 100)
    assert db.execute("select pgconductor.cancel(%s, 'enough')", (made[50],)).fetchone() == (True,)
    assert states(db) == {"cancelled": 51, "suspended": 50}
    # The parent of the one in the middle hears of it, nobody else.
    assert len(node.wakes()) == 1
    take_all(node)
    assert node.journal(node.run_of(made[49])) == {"down": {"error": "cancelled"}}
    assert one(db, "select error ->> 'message' from pgconductor.executions_all where id = %s", made[50]) == ("enough",)
    assert db.execute("select pgconductor.cancel(%s)", (made[0],)).fetchone() == (True,)
    assert states(db) == {"cancelled": 101} and count(db, "wakes") == 0
    assert db.execute("select pgconductor.cancel(%s)", (made[0],)).fetchone() == (False,)


def test_an_end_reaches_all_generations(db, node):
    """A parent that ends by itself has its children cancelled by their owners, one generation after the other."""
    made = deepen(db, node, 20)
    db.execute("update pgconductor.executions set ready_xid = pg_current_xact_id(), waiting = null, pending = null where id = %s", (made[0],))
    node.settle([node.run_of(made[0])], "failed", retry=False)
    take_all(node)
    assert states(db) == {"failed": 1, "cancelled": 20} and count(db, "steps") == 0


def test_who_runs_a_cancelled_child_is_told(db, node, connect):
    made = invoke(db)
    node.suspend((node.run_of(made), [child("a"), child("b")]))
    runs = [r for r in node.ready() if r[0] != made]
    node.note(runs)
    listener = connect()
    listener.execute(f'listen "pgconductor_{node.id}"')
    db.execute("select pgconductor.cancel(%s)", (made,))
    notifies = listener.notifies()
    told = [next(notifies).payload for _ in runs]
    assert sorted(told) == sorted(f"cancel {r[0]} {r[1]} its parent was cancelled" for r in runs)
    assert count(db, "running") == 0 and node.settle(runs) == 0


def two_nodes(db, connect):
    db.execute("select pgconductor.ensure_queue('default', 2)")
    declare(db)
    first, second = Node(connect).serve("default/work"), Node(connect).serve("default/work")
    assert len(first.settle_in()) == 1 == len(second.settle_in())
    return first, second


def invoke_on(db, node):
    while True:
        made = invoke(db)
        if row_of(db, made)["shard"] in node.epochs:
            return made
        db.execute("delete from pgconductor.executions where id = %s", (made,))


def test_two_owners(db, connect):
    """A child's end is written by its owner, its parent's resume by that one's."""
    first, second = two_nodes(db, connect)
    made = invoke_on(db, first)
    first.suspend((first.run_of(made), [child(str(i)) for i in range(40)]))
    theirs = [r for r in second.ready() if r[0] != made]
    mine = first.ready()
    assert theirs and mine
    second.settle(theirs, result="1")
    assert second.wakes() == [] and len(first.wakes()) == len(theirs)
    first.take_wakes()
    assert row_of(db, made)["pending"] == len(mine)
    first.settle(mine, result="2")
    first.take_wakes()
    assert sorted(first.journal(first.run_of(made)).values()) == [1] * len(theirs) + [2] * len(mine)


def test_a_child_ends_while_its_parent_is_moved(db, connect):
    """The wake was written for the shard where its parent was, and follows it."""
    first, second = two_nodes(db, connect)
    made = invoke_on(db, first)
    first.suspend((first.run_of(made), [child("a"), child("b")], True))
    kids = db.execute("select id from pgconductor.executions where parent = %s order by id", (made,)).fetchall()
    runs = {r[0]: r for n in (first, second) for r in n.ready()}
    owner = {r[0]: n for n in (first, second) for r in n.ready()}
    a, b = (k[0] for k in kids)
    owner[a].settle([runs[a]], result="1")
    first.take_wakes()
    run = first.run_of(made)
    # Its transaction looks up where the parent is, and commits only after the parent has been moved.
    writer = owner[b].writer
    writer.autocommit = False
    owner[b].settle([runs[b]], result="2")
    mover = second.writer if writer is first.writer else first.writer
    rows = mover.execute("select new_xid from pgconductor.rehome_to(%s::bigint[], %s::xid8[], %s)",
                         ([made], [run[1]], sorted(second.epochs)[0])).fetchall()
    writer.commit()
    writer.autocommit = True
    assert row_of(db, made)["shard"] in second.epochs and row_of(db, made)["journal"] is True
    moved = (made, rows[0][0], 0)
    second.suspend((moved, [child("b")]))
    assert second.wakes() == [] and second.run_of(made) is None
    (wake,) = first.wakes()
    assert first.take_wakes([wake]) == [] and first.wakes() == []
    assert len(second.wakes()) == 1
    second.take_wakes()
    assert second.journal(second.run_of(made)) == {"a": 1, "b": 2}
    assert first.take_wakes([wake]) == []


def test_wakes_are_read_by_cursor(db, node):
    """Ranges as those of lanes: from a place on, up to a transaction, so many; an open transaction is in the snapshot."""
    made = invoke(db)
    node.suspend((node.run_of(made), [child(str(i)) for i in range(10)]))
    runs = [r for r in node.ready() if r[0] != made]
    for run in runs[:6]:
        node.settle([run])
    shard = sorted(node.epochs)[0]

    def poll(*ranges):
        columns = [list(c) for c in zip(*ranges)]
        rows = node.reader.execute("select * from pgconductor.poll_wakes(%s::int[], %s::xid8[], %s::bigint[], %s::xid8[], %s::int[])",
                                   columns).fetchall()
        return rows[0][4], [[r[1:4] for r in rows if r[0] == n + 1] for n in range(len(ranges))]
    snapshot, (everything, first) = poll((shard, "0", 0, ALL, 100), (shard, "0", 0, ALL, 4))
    assert len(everything) == 6 and first == everything[:4] and everything == node.wakes()
    _, (rest, one_of, none) = poll((shard, first[-1][1], first[-1][2], ALL, 100), (shard, everything[2][1], 0, everything[2][1], 9),
                                   (shard, everything[-1][1], everything[-1][2], ALL, 100))
    assert (rest, one_of, none) == (everything[4:], [everything[2]], [])
    node.writer.autocommit = False
    xid = node.call("select pg_current_xact_id()")[0][0]
    node.settle(runs[6:7])
    invoke(db)
    snapshot, (seen,) = poll((shard, "0", 0, ALL, 100))
    assert len(seen) == 6 and xid in snapshot.split(":")[2].split(",")
    node.writer.commit()
    node.writer.autocommit = True
    assert len(node.wakes()) == 7
    node.take_wakes(everything)
    assert len(node.wakes()) == 1 and row_of(db, made)["pending"] == 4
    # Taken again: nothing.
    node.take_wakes(everything)
    assert row_of(db, made)["pending"] == 4


def test_every_wake_counts_once(db, node):
    """A child that is run again after its end has nobody to tell."""
    made = invoke(db)
    node.suspend((node.run_of(made), [child("a"), child("b")]))
    a, b = [r for r in node.ready() if r[0] != made]
    node.settle([a], "failed", retry=False)
    assert db.execute("select pgconductor.retry(%s)", (a[0],)).fetchone() == (True,)
    node.settle([node.run_of(a[0])], result="5")
    take_all(node)
    assert row_of(db, made)["pending"] == 1
    # Written twice by hand: still one.
    for _ in range(2):
        db.execute("insert into pgconductor.wakes (execution, wait, shard, key, result)"
                   " select execution, pos, %s, key, '7' from pgconductor.steps where execution = %s and key = 'a'",
                   (sorted(node.epochs)[0], made))
    take_all(node)
    assert row_of(db, made)["pending"] == 1 and node.run_of(made) is None
    node.settle([b], result="2")
    take_all(node)
    assert node.journal(node.run_of(made)) == {"a": {"error": None}, "b": 2}


def retry(db, execution):
    assert db.execute("select pgconductor.retry(%s)", (execution,)).fetchone() == (True,)


def test_a_wake_is_for_one_wait(db, node):
    """A child has ended, and before its parent hears of it that is cancelled, retried, and waits for the same key anew:
    what it gets is the outcome of the child that it waits for now."""
    made = invoke(db)
    node.suspend((node.run_of(made), [child("a"), child("b")]))
    first = [r for r in node.ready() if r[0] != made]
    node.settle(first[:1], result="1")
    (old,) = node.wakes()
    assert db.execute("select pgconductor.cancel(%s)", (made,)).fetchone() == (True,)
    retry(db, made)
    node.suspend((node.run_of(made), [child("a")]))
    assert node.take_wakes([old]) == [] and node.wakes() == []
    assert row_of(db, made)["pending"] == 1 and node.run_of(made) is None
    node.settle([r for r in node.ready() if r[0] != made], result="2")
    take_all(node)
    assert node.journal(node.run_of(made)) == {"a": 2}


def test_a_wake_is_for_one_wait_also_when_moved(db, connect):
    """The same when the retried parent is in another shard: the wake follows it, and means nothing there."""
    first, second = two_nodes(db, connect)
    made = invoke_on(db, first)
    first.suspend((first.run_of(made), [child("a")]))
    runs = {r[0]: (n, r) for n in (first, second) for r in n.ready()}
    (owner, run), = runs.values()
    owner.settle([run], result="1")
    while row_of(db, made)["shard"] in first.epochs:
        db.execute("select pgconductor.cancel(%s)", (made,))
        retry(db, made)
    second.suspend((second.run_of(made), [child("a")]))
    take_all(first, second)
    assert row_of(db, made)["pending"] == 1 and second.run_of(made) is None and count(db, "wakes") == 0


def test_cancelling_is_for_one_life(db, node):
    """A parent ends, and its unfinished child is to be cancelled; somebody cancels and retries that child before its owner
    hears of it: the child of nobody, that it is now, goes on."""
    made = invoke(db)
    node.suspend((node.run_of(made), [child("a"), child("b")], True))
    runs = {row_of(db, r[0])["parent_key"]: r for r in node.ready()}
    node.settle([runs["a"]], result="1")
    take_all(node)
    node.settle([node.run_of(made)], "failed", retry=False)
    b = runs["b"][0]
    (stop,) = node.wakes()
    assert db.execute("select pgconductor.cancel(%s)", (b,)).fetchone() == (True,)
    retry(db, b)
    assert node.take_wakes([stop]) == [] and node.wakes() == []
    assert node.run_of(b) and row_of(db, b)["parent"] is None
    node.settle([node.run_of(b)], result="3")
    assert one(db, "select state from pgconductor.executions_all where id = %s", b) == ("completed",)


def test_a_limit_ends_the_child_of_its_wait(db, node):
    """A parent failed and was retried while a child of its former life still runs: the limit of the new wait is for the new
    child; the old one ends because its parent has ended."""
    made = invoke(db)
    node.suspend((node.run_of(made), [child("a"), {"key": "t", "timer_ms": 0}], True))
    (old,) = [r for r in node.ready() if r[0] != made]
    node.settle([node.run_of(made)], "failed", retry=False)
    retry(db, made)
    node.suspend((node.run_of(made), [child("a", timeout_ms=1), child("b")]))
    (first,) = node.wakes()
    assert one(db, "select execution from pgconductor.wakes")[0] == old[0]
    db.execute("select pg_sleep(0.002)")
    node.promote()
    wakes = {r[0] for r in db.execute("select execution from pgconductor.wakes").fetchall()}
    new = one(db, "select id from pgconductor.executions where parent_key = 'a' and id <> %s", old[0])[0]
    assert wakes == {old[0], new}
    assert db.execute("select count(*) from pgconductor.wakes").fetchone() == (2,)
    take_all(node)
    assert row_of(db, old[0]) is None and row_of(db, new) is None and row_of(db, made)["pending"] == 1


def test_sent_again_after_an_unknown_commit(db, node):
    made = invoke(db)
    run = node.run_of(made)
    for _ in range(2):
        assert node.suspend((run, [child("a"), child("b")])) == []
    assert count(db, "executions") == 3 and row_of(db, made)["pending"] == 2
    runs = [r for r in node.ready() if r[0] != made]
    wakes = []
    for _ in range(2):
        node.settle(runs, result="1")
        wakes = wakes or node.wakes()
    for _ in range(2):
        node.take_wakes(wakes)
    assert len(node.wakes()) == 0 and node.journal(node.run_of(made)) == {"a": 1, "b": 1}


def test_a_node_dies_between_end_and_wake(db, connect):
    first, second = two_nodes(db, connect)
    made = invoke_on(db, first)
    first.suspend((first.run_of(made), [child("a"), child("b"), child("c")]))
    for n in (first, second):
        runs = [r for r in n.ready() if r[0] != made]
        if runs:
            n.settle(runs, result="1")
    first.die()
    while not second.settle_in():
        pass
    take_all(second)
    assert second.journal(second.run_of(made)) == {"a": 1, "b": 1, "c": 1}


def test_nobody_waits_for_anybody(db, connect, seed, scale):
    """Two owners settle, suspend and take as fast as they can, clients cancel whole trees: no deadlock, and in the end
    every execution has an end, no step and no wake is left."""
    first, second = two_nodes(db, connect)
    dice = random.Random(seed)
    stop = time.monotonic() + scale(4, 60)
    roots, failures = [], []

    def locked(error):
        return isinstance(error, (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected))

    def work(node, rnd):
        def settle(runs, outcome, **options):
            while runs:
                try:
                    node.settle(runs, outcome, **options)
                    return
                except psycopg.Error as error:
                    if not locked(error):
                        raise
                left_over = node.settle_locked(runs, outcome, **options)
                runs = [runs[p - 1] for p in left_over]
        try:
            while time.monotonic() < stop or count(node.reader, "executions") > 0:
                node.take_wakes()
                node.promote()
                runs = node.ready()
                rnd.shuffle(runs)
                some = runs[:len(runs) // 2]
                young = [r for r in some if r[2] == 0 and time.monotonic() < stop and not node.steps(r)]
                waits = [(r, [child(str(k)) for k in range(rnd.randrange(1, 4))] + [{"key": "t", "timer_ms": rnd.randrange(200)}] *
                          rnd.randrange(2), rnd.random() < 0.5, rnd.choice([None, None, 50])) for r in young if rnd.random() < 0.6]
                if waits:
                    node.suspend(*waits)
                    gone = {w[0] for w in waits}
                    runs = [r for r in runs if r not in gone]
                node.save_steps([(r, "s", "1") for r in runs if rnd.random() < 0.2] or [((1, "1"), "s", "1")])
                settle([r for r in runs if r[0] % 3], "completed", result="1")
                settle([r for r in runs if not r[0] % 3], "failed", after_ms=0, retry=rnd.random() < 0.5)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    def client(rnd):
        conn = connect()
        try:
            while time.monotonic() < stop:
                roots.append(invoke(conn))
                ids = [r[0] for r in conn.execute("select id from pgconductor.executions order by random() limit 2").fetchall()]
                for i in ids:
                    if rnd.random() < 0.3:
                        conn.execute("select pgconductor.cancel(%s)", (i,))
        except Exception as error:  # noqa: BLE001
            failures.append(error)
    threads = [threading.Thread(target=work, args=(n, random.Random(dice.random()))) for n in (first, second)]
    threads += [threading.Thread(target=client, args=(random.Random(dice.random()),)) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures
    take_all(first, second)
    assert roots and [count(db, t) for t in ("executions", "steps", "wakes", "running")] == [0] * 4
    ended = {r[0] for r in db.execute("select id from pgconductor.finished_executions").fetchall()}
    assert set(roots) <= ended and len(ended) > len(roots)
    assert len(states(db)) == 3


class Unsure:
    """Two nodes whose COMMITs are answered or not, and what their handlers do: an execution saves a step, waits for its
    children, and ends with 1 more than the sum of their results; with "any" it ends with the first of them."""

    def __init__(self, db, connect, dice):
        self.db, self.connect, self.dice = db, connect, dice
        self.nodes = list(two_nodes(db, connect))
        self.saved = set()      # executions of which a step was acknowledged; also in a later life
        self.stale = []         # runs with what they were told: somebody may believe in them when they are over

    def write(self, node, call):
        """Its transaction is committed, and answered; or not answered, or not even begun, and sent again. Meanwhile others
        go on."""
        way = self.dice.choice(("answered", "answered", "unanswered", "rolled back", "slow"))
        if way in ("answered", "unanswered"):
            first = call(False)
            return call(True) if way == "unanswered" else first
        node.writer.autocommit = False
        first = call(False)
        for other in self.nodes:
            if way == "slow" and other is not node:
                other.take_wakes()
                other.promote()
        (node.writer.commit if way == "slow" else node.writer.rollback)()
        node.writer.autocommit = True
        return first if way == "slow" else call(True)

    def current(self, run):
        row = row_of(self.db, run[0])
        return row is not None and row["ready_xid"] == run[1]

    def hand_out(self, node, run):
        """What its handler is told."""
        journal = node.journal(run)
        assert "s" in journal or run[0] not in self.saved, f"{run}: an acknowledged step was not there"
        return node, run, journal, row_of(self.db, run[0])["payload"]

    def handle(self, node, run, journal, what):
        if "s" not in journal:
            verdict = self.write(node, lambda again: node.save(run, {"s": "1"}, again))
            assert verdict in (["ok"], ["gone"], ["locked"]), verdict
            if verdict != ["ok"]:
                return
            self.saved.add(run[0])
        kids = {f"c{i}": kid for i, kid in enumerate(what.get("kids", []))}
        missing = [child(key, payload=json.dumps(kid)) for key, kid in kids.items() if key not in journal]
        if missing and not (what.get("any") and len(missing) < len(kids)):
            # Much may have come since its journal was read.
            self.look(*self.nodes)
            more = [{"key": f"t{run[1]}", "timer_ms": self.dice.choice((0, 5, 10000))}] if what.get("any") else []
            left = self.write(node, lambda again: node.suspend((run, missing + more, bool(what.get("any")))))
            assert left in ([], [1]), left
        elif what.get("any") and not any(key in journal for key in kids) and kids:
            self.write(node, lambda again: node.suspend((run, [])))
        else:
            total = 1 + sum(journal[key] for key in kids if key in journal)
            self.write(node, lambda again: node.settle([run], result=str(total)))

    def look(self, *nodes):
        for node in nodes:
            if self.dice.random() < 0.7:
                wakes = node.wakes()
                self.write(node, lambda again: node.take_wakes(wakes))
            if self.dice.random() < 0.5:
                node.promote()

    def step(self):
        node = self.dice.choice(self.nodes)
        self.look(node)
        over = [s for s in self.stale if not self.current(s[1])]
        if over and self.dice.random() < 0.3:
            self.handle(*self.dice.choice(over))
        elif runs := node.ready():
            told = self.hand_out(node, self.dice.choice(runs))
            self.stale = [*self.stale[-20:], told]
            self.handle(*told)

    def again(self, root):
        """Cancelled, and run again at once: with the same key it waits for other children."""
        if self.db.execute("select pgconductor.cancel(%s)", (root,)).fetchone()[0]:
            assert self.db.execute("select pgconductor.retry(%s)", (root,)).fetchone()[0]

    def replace(self):
        """A node dies; the other one takes what it had."""
        self.nodes.pop(self.dice.randrange(2)).die()
        self.stale = [s for s in self.stale if s[0] in self.nodes]
        while len(self.nodes[0].epochs) < 2:
            self.nodes[0].settle_in()


def a_tree(dice, depth):
    kids = [a_tree(dice, depth - 1) for _ in range(dice.randrange(1, 4))] if depth else []
    return {"kids": kids, "any": dice.random() < 0.3} if kids else {}


def sizes(tree):
    """What its result may be."""
    if not tree.get("kids"):
        return {1}
    parts = [sizes(kid) for kid in tree["kids"]]
    sums = {0}
    for part in parts:
        sums = {a + b for a in sums for b in part} | (sums | part if tree["any"] else set())
    return {1 + n for n in sums if n}


def test_nothing_is_known_of_commits(db, connect, seed, scale):
    """Whatever is sent twice, late, or by somebody who has lost his shard, beside clients that cancel and retry: every result
    is right, no acknowledged step is done again, and nothing is left."""
    dice = random.Random(seed)
    world = Unsure(db, connect, dice)
    trees = [a_tree(dice, dice.randrange(1, scale(3, 4))) for _ in range(scale(6, 300))]
    roots = [invoke(db, payload=json.dumps(tree)) for tree in trees]
    until, steps = time.monotonic() + scale(30, 600), 0
    while count(db, "executions"):
        assert time.monotonic() < until, db.execute("select * from pgconductor.executions").fetchall()[:3]
        world.step()
        steps += 1
        if steps % 25 == 0 and steps < scale(150, 5000):
            world.again(dice.choice(roots))
        if steps == 100:
            world.replace()
    for node in world.nodes:
        take_all(node)
    for root, tree in zip(roots, trees):
        state, result = one(db, "select state, result from pgconductor.executions_all where id = %s", root)
        assert state == "completed" and result in sizes(tree), (root, tree, state, result)
    twice = db.execute("select parent, count(*) from pgconductor.finished_executions where parent is not null"
                       " and state = 'completed' group by parent, id having count(*) > 1").fetchall()
    assert not twice
    assert [count(db, t) for t in ("steps", "wakes", "running")] == [0] * 3
