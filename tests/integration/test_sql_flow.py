"""dedupe_key, throttle and debounce: what is made, what is not, and what has changed, whoever asks at the same time."""

import json
import random
import threading

import psycopg
import pytest

from support.sqlnode import Node, declare, invoke, one, row_of
from support.wait import wait_for

DAY = 86400


@pytest.fixture(autouse=True)
def task(db):
    declare(db)


@pytest.fixture
def clock(db):
    """clock(seconds): lets so much time pass, for everybody."""
    def forward(seconds):
        db.execute("select pgconductor.fake_now(pgconductor.now() + %s * interval '1 s')", (seconds,))
    return forward


@pytest.fixture
def node(connect):
    found = Node(connect).serve("default/work", "other/work")
    found.settle_in()
    return found


def batch(db, items, task="work"):
    return one(db, "select pgconductor.invoke_batch(%s, %s::json)", task, items if isinstance(items, str) else json.dumps(items))[0]


def payload(db, execution):
    return one(db, "select payload::text from pgconductor.executions where id = %s", execution)[0]


def unfinished(db):
    return [r[0] for r in db.execute("select id from pgconductor.executions order by id").fetchall()]


def keys(db):
    return one(db, "select count(*) from pgconductor.invoke_keys")[0]


def due_in(db, execution):
    """Seconds until it is due, rounded."""
    return one(db, "select round(extract(epoch from run_at - pgconductor.now()))::int from pgconductor.executions where id = %s",
               execution)[0]


def promote(node):
    return node.call("select promoted from pgconductor.promote(%s, null, 10000)", sorted(node.epochs))[0][0]


def upkeep(db):
    """What a server would do with it."""
    for (statement,) in db.execute("select * from pgconductor.upkeep()").fetchall():
        while (row := db.execute(statement).fetchone() if statement.startswith("select") else None) and row[0] not in (None, "", 0) \
                and "unlock" not in statement:
            pass


def sqlstate(db, query, *args):
    with pytest.raises(psycopg.Error) as caught:
        db.execute(query, args or None)
    return caught.value.sqlstate, caught.value.diag.message_primary


class Asking(threading.Thread):
    """One statement in a transaction that stays open, in a thread: it may have to wait for another."""

    def __init__(self, conn, query, *args):
        super().__init__()
        self.conn, self.query, self.args = conn, query, args
        self.value = self.error = None
        self.start()

    def run(self):
        try:
            self.value = self.conn.execute(self.query, self.args or None).fetchone()[0]
        except psycopg.Error as error:
            self.error = error.sqlstate

    def blocked(self, db):
        """Wait until it waits for somebody's lock."""
        wait_for(lambda: db.execute("select cardinality(pg_blocking_pids(%s)) > 0", (self.conn.info.backend_pid,)).fetchone()[0])
        assert self.is_alive()
        return self

    def answer(self):
        self.join(20)
        assert not self.is_alive()
        return self.error or self.value


class TestDedupe:
    def test_second_gets_the_first(self, db):
        first = invoke(db, payload="1", dedupe_key="k", priority=3, metadata='{"m":1}')
        before = row_of(db, first)
        assert invoke(db, payload="2", dedupe_key="k", priority=7, delay="1 hour", metadata='{"m":2}') == first
        assert row_of(db, first) == before and unfinished(db) == [first]

    def test_key_is_of_task_and_queue(self, db):
        declare(db, "more")
        made = [invoke(db, task, dedupe_key=key, queue=queue)
                for task in ("work", "more") for queue in ("default", "other") for key in ("k", "K", "k ", "é")]
        assert unfinished(db) == made and len(set(made)) == 16
        assert invoke(db, dedupe_key="k") == made[0]

    def test_kinds_are_apart(self, db):
        made = {invoke(db, dedupe_key="k"), invoke(db, dedupe_key="k", throttle="1 h"), invoke(db, dedupe_key="k", debounce="1 h")}
        assert len(made) == 3 and set(unfinished(db)) == made

    def test_without_a_key_it_is_the_task(self, db):
        first = invoke(db, dedupe_for="1 hour")
        assert invoke(db, dedupe_for="1 hour") == first == invoke(db, dedupe_key="work")

    def test_while_it_runs_fails_waits_and_after(self, db, node):
        declare(db, "work", max_attempts=2, backoff="10s")
        first = invoke(db, dedupe_key="k")
        run = node.ready()[0]
        assert invoke(db, dedupe_key="k") == first
        node.settle([run], "failed", error='{"code":"app"}')
        assert invoke(db, dedupe_key="k") == first and row_of(db, first)["attempt"] == 1

    def test_kept_as_long_as_history(self, db, node, clock):
        first = invoke(db, dedupe_key="k")
        assert node.settle_plain(node.ready()) == 1
        clock(6 * DAY)
        upkeep(db)
        assert invoke(db, dedupe_key="k") == first and unfinished(db) == [] and keys(db) == 1
        clock(3 * DAY)
        upkeep(db)
        assert keys(db) == 0
        second = invoke(db, dedupe_key="k")
        assert second != first and unfinished(db) == [second]

    def test_without_history_only_while_unfinished(self, db, node):
        declare(db, remove_on_complete=True)
        first = invoke(db, dedupe_key="k")
        assert invoke(db, dedupe_key="k") == first
        node.settle_plain(node.ready(), keep=False)
        assert invoke(db, dedupe_key="k") != first

    def test_dedupe_for(self, db, node, clock):
        first = invoke(db, dedupe_key="k", dedupe_for="1 hour")
        clock(2 * 3600)
        assert invoke(db, dedupe_key="k", dedupe_for="1 hour") == first
        node.settle_plain(node.ready())
        second = invoke(db, dedupe_key="k", dedupe_for="1 hour")
        assert second != first
        node.settle_plain(node.ready())
        clock(3590)
        # The one that was made says for how long.
        assert invoke(db, dedupe_key="k", dedupe_for="1 s") == second == invoke(db, dedupe_key="k")
        clock(20)
        assert invoke(db, dedupe_key="k", dedupe_for="1 hour") not in (first, second)

    def test_dedupe_for_nothing(self, db, node):
        first = invoke(db, dedupe_key="k", dedupe_for="0")
        assert invoke(db, dedupe_key="k", dedupe_for="0") == first
        node.settle_plain(node.ready())
        assert invoke(db, dedupe_key="k", dedupe_for="0") != first

    def test_cancelled_and_retried(self, db, clock):
        first = invoke(db, dedupe_key="k")
        one(db, "select pgconductor.cancel(%s)", first)
        assert invoke(db, dedupe_key="k") == first and unfinished(db) == []
        assert one(db, "select pgconductor.retry(%s)", first) == (True,)
        clock(100 * DAY)
        upkeep(db)
        assert invoke(db, dedupe_key="k") == first and unfinished(db) == [first]

    def test_retried_after_another_was_made(self, db, node):
        first = invoke(db, dedupe_key="k", dedupe_for="0")
        node.settle_plain(node.ready())
        second = invoke(db, dedupe_key="k", dedupe_for="0")
        one(db, "select pgconductor.retry(%s)", first)
        assert invoke(db, dedupe_key="k") == second and unfinished(db) == [first, second]

    @pytest.mark.parametrize("span", ["0", "10 s"])
    def test_retried_when_its_key_counted_no_more(self, db, clock, span):
        """Whether there was upkeep meanwhile or not."""
        first = invoke(db, dedupe_key="k", dedupe_for=span)
        one(db, "select pgconductor.cancel(%s)", first)
        clock(60)
        upkeep(db)
        one(db, "select pgconductor.retry(%s)", first)
        assert invoke(db, dedupe_key="k") == first and unfinished(db) == [first]

    def test_rolled_back_to_a_savepoint(self, connect, db):
        conn = connect(autocommit=False)
        conn.execute("savepoint s")
        gone = invoke(conn, dedupe_key="k")
        conn.execute("rollback to s")
        kept = invoke(conn, dedupe_key="k")
        assert kept != gone and invoke(conn, dedupe_key="k") == kept
        conn.commit()
        assert unfinished(db) == [kept]


class TestThrottle:
    def test_one_per_period(self, db, clock):
        first = invoke(db, payload="1", throttle="10 s")
        assert invoke(db, payload="2", throttle="10 s") is None
        assert invoke(db, throttle="10 s", dedupe_key="of its own") is not None
        clock(9)
        assert invoke(db, throttle="10 s") is None
        clock(2)
        second = invoke(db, throttle="10 s")
        # From the last that was accepted on, not from when they were asked for.
        clock(9)
        assert invoke(db, throttle="10 s") is None
        assert payload(db, first) == "1" and second is not None and len(unfinished(db)) == 3

    def test_plain_ones_are_not_counted(self, db):
        assert invoke(db, throttle="10 s") and invoke(db) and invoke(db, throttle="10 s") is None

    def test_whatever_became_of_it(self, db, node):
        first = invoke(db, throttle="1 h")
        one(db, "select pgconductor.cancel(%s)", first)
        assert invoke(db, throttle="1 h") is None

    def test_delayed(self, db):
        assert due_in(db, invoke(db, throttle="10 s", delay="1 h")) == 3600
        assert invoke(db, throttle="10 s", delay="1 h") is None

    def test_upkeep_removes_what_is_over(self, db, clock):
        for n in range(50):
            invoke(db, throttle="10 s", dedupe_key=str(n))
        kept = invoke(db, throttle="1 h", dedupe_key="kept")
        clock(20)
        upkeep(db)
        assert keys(db) == 1 and kept
        assert invoke(db, throttle="10 s", dedupe_key="kept") is None


class TestDebounce:
    def test_last_payload_of_a_burst(self, db, node, clock):
        first = invoke(db, payload="1", debounce="10 s")
        for n in range(2, 6):
            clock(6)
            assert invoke(db, payload=str(n), debounce="10 s", priority=n, metadata=f'{{"n":{n}}}') == first
            assert promote(node) == 0 and due_in(db, first) == 10
        row = row_of(db, first)
        assert (row["payload"], row["metadata"], row["priority"], row["lane"], unfinished(db)) == (5, {"n": 5}, 5, -5, [first])
        clock(9)
        assert promote(node) == 0
        clock(2)
        assert promote(node) == 1 and [r[0] for r in node.ready()] == [first]
        second = invoke(db, payload="6", debounce="10 s")
        assert second != first and payload(db, first) == "5" and due_in(db, second) == 10

    def test_max_wait(self, db, node, clock):
        first = invoke(db, payload="0", debounce="10 s", max_wait="25 s")
        for passed, due in ((6, 10), (6, 10), (6, 7), (5, 2)):
            clock(passed)
            assert invoke(db, payload=str(due), debounce="10 s", max_wait="25 s") == first and due_in(db, first) == due
        assert promote(node) == 0
        clock(2)
        assert promote(node) == 1 and payload(db, first) == "2"
        assert due_in(db, invoke(db, debounce="10 s", max_wait="25 s")) == 10

    def test_shorter_than_the_quiet_time(self, db):
        assert due_in(db, invoke(db, debounce="10 s", max_wait="3 s")) == 3

    def test_past_its_last_moment_it_is_ready_at_once(self, db, node, clock):
        first = invoke(db, payload="1", debounce="10 s", max_wait="1 h")
        clock(5)
        assert invoke(db, payload="2", debounce="10 s", max_wait="4 s") == first
        assert [r[0] for r in node.ready()] == [first] and payload(db, first) == "2"
        assert invoke(db, payload="3", debounce="10 s", max_wait="4 s") != first

    def test_total_timeout_moves_with_it(self, db, clock):
        declare(db, total_timeout="1m")
        first = invoke(db, debounce="10 s")
        clock(5)
        assert invoke(db, debounce="10 s") == first
        assert one(db, "select expires_at - run_at = interval '1 minute' from pgconductor.executions") == (True,)

    def test_cancelled_begins_anew(self, db, clock):
        first = invoke(db, debounce="10 s", max_wait="12 s")
        clock(5)
        one(db, "select pgconductor.cancel(%s)", first)
        second = invoke(db, debounce="10 s", max_wait="12 s")
        assert second != first and due_in(db, second) == 10

    def test_an_attempt_that_waits_is_not_pending(self, db, node, clock):
        """It was ready once: what is asked for now comes after it."""
        first = invoke(db, payload="1", debounce="10 s")
        clock(11)
        promote(node)
        node.settle(node.ready(), "failed", error='{"code":"app"}', after_ms=60000)
        second = invoke(db, payload="2", debounce="10 s")
        assert second != first and payload(db, first) == "1"

    def test_promoted_while_it_is_changed(self, db, connect, node, clock):
        """The owner leaves what a client has locked; the client makes a new one of what the owner was quicker with."""
        first = invoke(db, payload="1", debounce="10 s")
        clock(11)
        client = connect(autocommit=False)
        assert invoke(client, payload="2", debounce="10 s") == first
        assert promote(node) == 0
        client.commit()
        assert promote(node) == 0 and payload(db, first) == "2"

        clock(11)
        with node.writer.transaction():
            assert promote(node) == 1
            asking = Asking(client, "select pgconductor.invoke('work', '3', debounce => '10 s')").blocked(db)
        second = asking.answer()
        client.commit()
        assert second != first and (payload(db, first), payload(db, second)) == ("2", "3")
        assert [r[0] for r in node.ready()] == [first]

    def test_client_that_gives_up_leaves_it_as_it_was(self, db, connect, node, clock):
        first = invoke(db, payload="1", debounce="10 s")
        clock(5)
        client = connect(autocommit=False)
        assert invoke(client, payload="2", debounce="1 h") == first
        client.rollback()
        clock(6)
        assert promote(node) == 1 and payload(db, first) == "1"

    def test_burst_from_many_sessions(self, db, connect, node, clock):
        """Each burst runs once, with the payload that was committed last."""
        sessions = [connect() for _ in range(6)]
        made = []

        def burst(conn, number):
            for n in range(10):
                made.append(one(conn, "select pgconductor.invoke('work', %s::text, debounce => '10 s')", f"[{number},{n}]")[0])
        threads = [threading.Thread(target=burst, args=(conn, n)) for n, conn in enumerate(sessions)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(30)
        assert len(made) == 60 and len(set(made)) == 1 and unfinished(db) == [made[0]]
        assert json.loads(payload(db, made[0]))[1] == 9
        clock(11)
        assert promote(node) == 1 and node.settle_plain(node.ready()) == 1 and unfinished(db) == []

    def test_upkeep_keeps_what_is_pending(self, db, node, clock):
        first = invoke(db, debounce="10 s")
        clock(100)
        upkeep(db)
        assert invoke(db, payload="2", debounce="10 s") == first
        clock(100)
        promote(node)
        upkeep(db)
        assert keys(db) == 0

    def test_sleeping_owner_is_woken_when_it_comes_sooner(self, db, connect, node):
        first = invoke(db, debounce="1 h")
        listener, sleeper = connect(), connect()
        heard = []
        listener.add_notify_handler(lambda n: heard.append(n.payload))
        listener.execute(f"listen pgconductor_{node.id}")
        sleeper.execute("select pg_advisory_lock(1346847491, %s)", (node.id,))
        assert invoke(db, debounce="2 h") == first
        listener.execute("select 1")
        assert heard == []
        assert invoke(db, debounce="1 s") == first
        listener.execute("select 1")
        assert heard == [""]


OPTIONS = {"dedupe": {"dedupe_key": "k"}, "throttle": {"throttle": "1 hour", "dedupe_key": "k"},
           "debounce": {"debounce": "1 hour", "dedupe_key": "k"}}


@pytest.fixture(params=OPTIONS)
def options(request):
    return OPTIONS[request.param]


class TestTogether:
    """Transactions that stay open as long as the test wants."""

    def ask(self, conn, options, payload="2"):
        named = "".join(f", {name} => %s" for name in options)
        return Asking(conn, f"select pgconductor.invoke('work', %s::text{named})", payload, *options.values())

    def test_waits_for_the_first_and_gets_its(self, db, connect, options):
        one_, two = connect(autocommit=False), connect(autocommit=False)
        first = invoke(one_, payload="1", **options)
        asking = self.ask(two, options).blocked(db)
        one_.commit()
        assert asking.answer() == (None if "throttle" in options else first)
        two.commit()
        assert unfinished(db) == [first] and payload(db, first) == ("2" if "debounce" in options else "1")

    def test_first_rolls_back(self, db, connect, options):
        one_, two = connect(autocommit=False), connect(autocommit=False)
        first = invoke(one_, payload="1", **options)
        asking = self.ask(two, options).blocked(db)
        one_.rollback()
        second = asking.answer()
        two.commit()
        assert second not in (None, first) and unfinished(db) == [second] and payload(db, second) == "2"

    def test_repeatable_read_is_told_to_try_again(self, db, connect, options):
        """It cannot see the other's, whatever it does."""
        two = connect(autocommit=False)
        two.execute("set transaction isolation level repeatable read")
        two.execute("select 1")
        first = invoke(db, payload="1", **options)
        assert self.ask(two, options).answer() == "40001"
        two.rollback()
        two.execute("set transaction isolation level repeatable read")
        assert self.ask(two, options).answer() == (None if "throttle" in options else first)
        two.commit()
        assert unfinished(db) == [first]

    def test_repeatable_read_that_waits(self, db, connect, options):
        one_, two, three = (connect(autocommit=False) for _ in range(3))
        for conn in (two, three):
            conn.execute("set transaction isolation level repeatable read")
            conn.execute("select 1")
        invoke(one_, payload="1", **options)
        asking = self.ask(two, options).blocked(db)
        one_.commit()
        assert asking.answer() == "40001"
        two.rollback()
        invoke(db, dedupe_key="else")
        assert self.ask(three, {**options, "dedupe_key": "another"}).answer() is not None
        three.commit()

    def test_many_wait_and_one_makes_it(self, db, connect, options):
        holder = connect(autocommit=False)
        invoke(holder, payload="0", **options)
        sessions = [connect() for _ in range(8)]
        asking = [self.ask(conn, options, str(n)).blocked(db) for n, conn in enumerate(sessions)]
        holder.rollback()
        answers = [a.answer() for a in asking]
        made = unfinished(db)
        assert len(made) == 1
        assert sorted(answers, key=str) == ([made[0]] + [None] * 7 if "throttle" in options else made * 8)

    def test_entry_that_counts_no_more_is_taken_by_one(self, db, connect, node, clock, options):
        options = options | ({"dedupe_for": "0"} if len(options) == 1 else {})
        invoke(db, **options)
        clock(2 * 3600)
        promote(node)
        node.settle_plain(node.ready())
        one_, two = connect(autocommit=False), connect(autocommit=False)
        first = invoke(one_, payload="1", **options)
        asking = self.ask(two, options).blocked(db)
        upkeep(db)
        one_.commit()
        assert asking.answer() == (None if "throttle" in options else first)
        two.commit()
        assert unfinished(db) == [first]

    def test_what_counts_already_keeps_nobody_waiting(self, db, connect):
        first = invoke(db, dedupe_key="k")
        accepted = invoke(db, throttle="1 hour")
        sessions = [connect(autocommit=False) for _ in range(3)]
        for conn in sessions:
            conn.execute("set local lock_timeout = '1s'")
            assert invoke(conn, dedupe_key="k") == first and invoke(conn, throttle="1 hour") is None
            # Nothing was written.
            assert one(conn, "select pg_current_xact_id_if_assigned() is null") == (True,)
        assert accepted

    def test_batches_in_any_order_do_not_deadlock(self, db, connect, seed, clock):
        dice = random.Random(seed)
        failed, answers = [], []

        def run(conn, plan):
            try:
                for items in plan:
                    answers.append((items, batch(conn, items)))
            except psycopg.Error as error:
                failed.append(error)
        kinds = [{}, {"throttle": "1 hour"}, {"debounce": "1 hour"}]

        def items():
            return [{"payload": n, "dedupe_key": str(dice.randrange(30)), **dice.choice(kinds)} for n in range(40)]
        threads = [threading.Thread(target=run, args=(connect(), [items() for _ in range(8)])) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        assert failed == []
        made = {}
        for given, ids in answers:
            for item, execution in zip(given, ids):
                kind = "throttle" if "throttle" in item else "debounce" if "debounce" in item else "dedupe"
                if execution is not None:
                    made.setdefault((kind, item["dedupe_key"]), []).append(execution)
        assert all(len(set(ids)) == 1 and (kind != "throttle" or len(ids) == 1) for (kind, _), ids in made.items())
        assert sorted({ids[0] for ids in made.values()}) == unfinished(db)


class TestBatch:
    def test_duplicates(self, db):
        ids = batch(db, [{"payload": 1, "dedupe_key": "a"}, {"payload": 2}, {"payload": 3, "dedupe_key": "b"},
                         {"payload": 4, "dedupe_key": "a", "priority": 5}, {"payload": 5, "dedupe_key": "a", "queue": "other"},
                         {"payload": 6, "dedupe_key": "a", "queue": "default"}])
        assert ids[0] == ids[3] == ids[5] and len(set(ids)) == 4
        assert [payload(db, i) for i in dict.fromkeys(ids)] == ["1", "2", "3", "5"] and len(unfinished(db)) == 4
        assert batch(db, [{"payload": 7, "dedupe_key": "b"}, {"payload": 8, "dedupe_key": "c"}])[0] == ids[2]
        assert invoke(db, dedupe_key="a") == ids[0]

    def test_throttled(self, db):
        ids = batch(db, [{"payload": n, "throttle": "10 s"} for n in range(3)] + [{"payload": 9}])
        assert ids[1:3] == [None, None] and [payload(db, ids[0]), payload(db, ids[3])] == ["0", "9"]
        assert batch(db, [{"payload": n, "throttle": "10 s"} for n in range(2)]) == [None, None]
        assert len(unfinished(db)) == 2

    def test_debounced(self, db, clock):
        ids = batch(db, [{"payload": n, "debounce": "10 s", "max_wait": "12 s", "priority": n, "metadata": {"n": n}} for n in range(3)])
        assert len(set(ids)) == 1 and payload(db, ids[0]) == "2" and row_of(db, ids[0])["priority"] == 2
        clock(5)
        again = batch(db, [{"payload": n, "debounce": "10 s", "max_wait": "12 s"} for n in (7, 8)])
        assert set(again) == set(ids) and payload(db, ids[0]) == "8" and due_in(db, ids[0]) == 7
        assert invoke(db, payload="9", debounce="1 s") == ids[0]

    def test_as_one_by_one(self, db, connect, seed, clock):
        """A batch does what its items do one by one at the same moment."""
        dice = random.Random(seed)
        clock(0)
        for _ in range(15):
            items = []
            for n in range(dice.randrange(1, 12)):
                item = {"payload": n} | dice.choice([{}, {"dedupe_key": "a"}, {"dedupe_for": "0"}, {"throttle": "1 hour"},
                                                     {"debounce": "1 hour"}, {"debounce": "1 hour", "max_wait": "2 hours"},
                                                     {"throttle": "1 hour", "dedupe_key": "a"}])
                items.append(item)
            looks = []
            for how in ("batch", "single"):
                conn = connect(autocommit=False)
                conn.execute("select set_config('pgconductor.fake_now', pgconductor.now()::text, true)")
                if how == "batch":
                    ids = batch(conn, items)
                else:
                    ids = [invoke(conn, payload=str(i["payload"]), **{k: v for k, v in i.items() if k != "payload"}) for i in items]
                rows = {r[0]: r[1:] for r in conn.execute("select id, payload::text, run_at > pgconductor.now() from pgconductor.executions")}
                order = {i: ids.index(i) for i in ids if i is not None}
                looks.append([(order[i], rows[i]) if i is not None else None for i in ids])
                assert sorted(rows) == sorted(order)
                conn.rollback()
                conn.close()
            assert looks[0] == looks[1], items

    def test_keys_with_escapes(self, db):
        """The same key, however it is written; and payloads stay exactly as they were."""
        text = r'[{"payload":"\u0000","dedupe_key":"\u00e9\"\\\n"}, {"payload":"\u0001","dedupe_key":"é\"\\\u000a"}]'
        ids = batch(db, text)
        assert ids[0] == ids[1] == invoke(db, dedupe_key='é"\\\n') and payload(db, ids[0]) == r'"\u0000"'
        late = batch(db, r'[{"payload":"\ud800","debounce":"1 h"},{"payload":"\udc00\u00e9","debounce":"1 h","metadata":["\u0000"]}]')
        assert payload(db, late[0]) == r'"\udc00\u00e9"'
        assert batch(db, r'[{"payload":"\/","debounce":"1 h"}]') == late[:1] and payload(db, late[0]) == r'"\/"'

    def test_words_in_payloads_are_not_options(self, db):
        assert len(set(batch(db, [{"payload": {"dedupe_key": "x", "throttle": "1 s", "debounce": 3}}, {"payload": "\"throttle\""}]))) == 2

    def test_bad_items_are_named(self, db):
        for item, code, message in (
            ({"dedupe_key": 1}, "PC009", ".dedupe_key: 1 is not a string"),
            ({"dedupe_key": ""}, "PC009", ".dedupe_key: an empty text"),
            ({"dedupe_key": "x" * 1025}, "PC009", ".dedupe_key: 1025 bytes, the limit is 1024"),
            ({"dedupe_key": "a\u0000"}, "PC009", ".dedupe_key: it has \\u0000 in it, or half of a surrogate pair"),
            ({"throttle": "0"}, "PC005", ".throttle: 00:00:00 is not above 0, up to 1000 years"),
            ({"throttle": 5}, "PC005", ".throttle: 5 is not a string"),
            ({"debounce": "soon"}, "PC005", ".debounce: invalid input syntax for type interval: \"soon\""),
            ({"dedupe_for": "-1 s"}, "PC005", ".dedupe_for: -00:00:01 is not between 0 and 1000 years"),
            ({"throttle": "1 s", "debounce": "1 s"}, "PC009", ": throttle, debounce: give one of them, not both"),
            ({"throttle": "1 s", "dedupe_for": "1 s"}, "PC009", ".dedupe_for: goes with neither throttle nor debounce"),
            ({"max_wait": "1 s"}, "PC009", ".max_wait: goes with debounce"),
            ({"debounce": "1 s", "delay": "1 s"}, "PC009", ".debounce: says itself when to run: give neither run_at nor delay"),
        ):
            found = sqlstate(db, "select pgconductor.invoke_batch('work', %s::json)", json.dumps([{}, item]))
            assert found == (code, "pgconductor.invoke_batch: items[1]" + message)
        assert unfinished(db) == [] and keys(db) == 0

    def test_size_limit(self, db):
        db.execute("select pgconductor.set_setting('max_payload', '2000')")
        first = invoke(db, debounce="1 h")
        assert sqlstate(db, "select pgconductor.invoke_batch('work', %s::json)",
                        json.dumps([{"payload": "x" * 2000, "debounce": "1 h"}]))[0] == "PC003"
        assert payload(db, first) == "{}"

    def test_ten_thousand_keys(self, db, node, clock):
        """As many as anybody; and none of it grows with what is there."""
        items = [{"payload": n, "dedupe_key": f"key {n}"} for n in range(10000)]
        ids = batch(db, items)
        assert len(set(ids)) == 10000 and keys(db) == 10000
        random.Random(1).shuffle(items)
        assert batch(db, items) == [ids[i["payload"]] for i in items]
        assert len(unfinished(db)) == 10000
        for start in range(0, 10000, 2500):
            node.settle_plain(node.ready()[:2500])
        assert unfinished(db) == [] and batch(db, items[:100]) == [ids[i["payload"]] for i in items[:100]]
        clock(9 * DAY)
        upkeep(db)
        assert keys(db) == 0


def test_bad_options_are_named(db):
    for call, code, message in (
        ("throttle => '0'", "PC005", "throttle: 00:00:00 is not above 0, up to 1000 years"),
        ("debounce => '-1 s'", "PC005", "debounce: -00:00:01 is not above 0, up to 1000 years"),
        ("debounce => '1 s', max_wait => '2000 years'", "PC005", "max_wait: 2000 years is not above 0, up to 1000 years"),
        ("dedupe_for => '-1 s'", "PC005", "dedupe_for: -00:00:01 is not between 0 and 1000 years"),
        ("dedupe_key => ''", "PC009", "dedupe_key: an empty text"),
        ("dedupe_key => repeat('é', 513)", "PC009", "dedupe_key: 1026 bytes, the limit is 1024"),
        ("throttle => '1 s', debounce => '1 s'", "PC009", "throttle, debounce: give one of them, not both"),
        ("debounce => '1 s', dedupe_for => '1 s'", "PC009", "dedupe_for: goes with neither throttle nor debounce"),
        ("throttle => '1 s', max_wait => '1 s'", "PC009", "max_wait: goes with debounce"),
        ("debounce => '1 s', run_at => now()", "PC009", "debounce: says itself when to run: give neither run_at nor delay"),
        ("debounce => '1 s', priority => 40000", "PC009", "priority: 40000 is not between -32768 and 32767"),
        ("'no', debounce => '1 s'", "PC002", "payload: not JSON: Token \"no\" is invalid."),
    ):
        assert sqlstate(db, f"select pgconductor.invoke('work', {call})") == (code, "pgconductor.invoke: " + message)
    assert unfinished(db) == [] and keys(db) == 0


def test_longest_key_of_the_longest_names(db):
    declare(db, "t" * 128, "q" * 63)
    for options in OPTIONS.values():
        options = options | {"dedupe_key": "".join(map(chr, random.Random(2).choices(range(0x10000, 0x10ffff), k=256)))}
        made = invoke(db, "t" * 128, **options)
        assert invoke(db, "t" * 128, **options) == (None if "throttle" in options else made)


class TestCalls:
    """A handler's call, made on the writer, and made again when its answer was lost."""

    def call(self, node, run, args, draft, again=False):
        return node.call("select pgconductor.make_call(%s, %s::xid8, 'invoke', %s::json, %s, %s)", run[0], run[1],
                         json.dumps({"task": "work", **args}), draft, again)[0][0]

    @pytest.fixture
    def run(self, db, node):
        declare(db, "caller")
        invoke(db, "caller")
        return node.ready()[0]

    def drafts(self, node):
        return [r[0] for r in node.call("select id from pgconductor.draw_ids(5) id")]

    def test_made_once(self, db, node, run):
        drafts = self.drafts(node)
        for kind in OPTIONS.values():
            draft = drafts.pop()
            assert self.call(node, run, kind, draft) == str(draft)
            assert self.call(node, run, kind, draft, again=True) == str(draft)
            other = self.call(node, run, kind, drafts[0])
            assert other == (None if "throttle" in kind else str(draft))
        assert len(unfinished(db)) == 4

    def test_null_is_not_that_the_run_is_gone(self, db, node, run):
        invoke(db, throttle="1 h")
        assert one(node.writer, "select pgconductor.make_call(%s, %s::xid8, 'invoke', '{\"task\":\"work\",\"throttle\":\"1 h\"}', %s, false)::text",
                   run[0], run[1], self.drafts(node)[0]) == ("null",)
        one(db, "select pgconductor.cancel(%s)", run[0])
        assert one(node.writer, "select pgconductor.make_call(%s, %s::xid8, 'invoke', '{\"task\":\"work\"}', %s, false)::text",
                   run[0], run[1], self.drafts(node)[0]) == (None,)
