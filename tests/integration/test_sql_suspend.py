"""Suspending: timers, one or all of several waits, time limits, going on with what was begun."""

import datetime

import psycopg
import pytest

from support.sqlnode import Node, declare, invoke, one, row_of

BEGIN = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)


@pytest.fixture
def owner(db, connect):
    db.execute("select pgconductor.ensure_queue('default', 1)")
    declare(db)
    declare(db, "part")
    made = Node(connect).serve("default/work", "default/part")
    made.settle_in()
    return made


@pytest.fixture
def at(owner):
    """at(seconds): what the owner's clocks show."""
    def at(seconds):
        for conn in (owner.writer, owner.reader):
            conn.execute("select set_config('pgconductor.fake_now', %s, false)", (str(BEGIN + datetime.timedelta(seconds=seconds)),))
    at(0)
    owner.call("select pgconductor.ensure_partition(pgconductor.now())")
    return at


def timer(key, seconds):
    return {"key": key, "timer_ms": int(seconds * 1000)}


def child(key, **options):
    return {"key": key, "task": "part", **options}


def parent_run(db, owner):
    made = invoke(db)
    return owner.run_of(made)


def end(owner, key, outcome="completed", result="1", error=None):
    """The child under this key ends, and its parent's owner hears of it."""
    run = [r for r in owner.ready() if owner.call("select parent_key from pgconductor.executions where id = %s", r[0])[0][0] == key]
    owner.settle(run, outcome, result=result, error=error, retry=False)
    while owner.wakes():
        assert owner.take_wakes() == []


def children(db):
    return [r[0] for r in db.execute("select parent_key from pgconductor.executions where parent is not null order by id").fetchall()]


def state(db, execution):
    return one(db, "select state, waiting from pgconductor.executions_all where id = %s", execution)


def test_sleep(db, owner, at):
    """Its outcome is written at once; time alone makes it ready, and costs no attempt."""
    run = parent_run(db, owner)
    owner.note([run])
    assert owner.suspend((run, [timer("nap", 30)])) == []
    row = row_of(db, run[0])
    assert (row["ready_xid"], row["waiting"], row["pending"], row["attempt"], row["journal"]) == (None, "suspended", None, 0, True)
    assert state(db, run[0]) == ("suspended", "nap")
    assert one(db, "select state from pgconductor.result(%s)", run[0]) == ("suspended",)
    assert one(db, "select count(*) from pgconductor.running") == (0,)
    at(29)
    assert owner.promote() == (0, None, 1000) and owner.ready() == []
    at(30)
    assert owner.promote()[0] == 1
    (again,) = owner.ready()
    assert again[0] == run[0] and again[1] != run[1] and again[2] == 0
    assert owner.journal(again) == {"nap": None}
    assert state(db, run[0]) == ("ready", None)
    # Sent again, as after an unknown commit.
    assert owner.suspend((run, [timer("nap", 30)])) == []
    assert owner.ready() == [again]


def test_years(db, owner, at):
    run = parent_run(db, owner)
    owner.suspend((run, [{"key": "x", "timer_ms": 2**62}]))
    assert one(db, "select run_at > now() + '99 years' from pgconductor.executions") == (True,)


def test_ready_again_at_once(db, owner, at):
    """Nothing to wait for, or nothing any more."""
    run = parent_run(db, owner)
    owner.suspend((run, []))
    assert owner.ready()[0][0] == run[0] and owner.ready()[0][1] != run[1]
    owner.suspend((owner.ready()[0], [timer("none", 0)]))
    (run,) = owner.ready()
    assert owner.journal(run) == {"none": None}
    owner.suspend((run, [{"key": "c", "task": "nobody"}, {"key": "q", "task": "part", "queue": "Bad Name"}, {"key": "n"}]))
    (run,) = owner.ready()
    assert owner.journal(run) == {"none": None, "c": {"error": "unknown_task"}, "q": {"error": "bad_queue"}, "n": {"error": "unknown_task"}}
    assert one(db, "select count(*) from pgconductor.executions") == (1,)


def test_all_timers(db, owner, at):
    run = parent_run(db, owner)
    owner.suspend((run, [timer("a", 10), timer("b", 20)]))
    at(10)
    assert owner.promote()[0] == 0
    at(20)
    assert owner.promote()[0] == 1
    assert owner.journal(owner.ready()[0]) == {"a": None, "b": None}


def test_the_first_of_two_timers(db, owner, at):
    run = parent_run(db, owner)
    owner.suspend((run, [timer("a", 10), timer("b", 20)], True))
    assert state(db, run[0]) == ("suspended", "a, b")
    at(15)
    assert owner.promote()[0] == 1
    (run,) = owner.ready()
    assert owner.journal(run) == {"a": None}
    # The other goes on, and is not started anew.
    owner.suspend((run, [timer("b", 20)]))
    at(19)
    assert owner.promote()[0] == 0
    at(20)
    assert owner.promote()[0] == 1
    assert owner.journal(owner.ready()[0]) == {"a": None, "b": None}


def test_a_child(db, owner, at):
    run = parent_run(db, owner)
    owner.suspend((run, [child("c", payload='{"a" : "\\u0000"}', priority=7)]))
    assert state(db, run[0]) == ("suspended", "c")
    row = one(db, "select parent, parent_key, payload::text, priority, lane, queue, attempt from pgconductor.executions where parent is not null")
    assert row == (run[0], "c", '{"a" : "\\u0000"}', 7, -7, "default", 0)
    assert owner.promote() == (0, None, None)
    end(owner, "c", result='{"x" : "\\u0000"}')
    (run,) = owner.ready()
    assert run[2] == 0 and [s[2:4] for s in owner.steps(run)] == [("c", '{"x" : "\\u0000"}')]
    assert one(db, "select parent from pgconductor.executions_all where id <> %s", run[0]) == (run[0],)


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
def test_a_child_that_fails(db, owner, at, outcome):
    declare(db, "part", max_attempts=2)
    run = parent_run(db, owner)
    owner.suspend((run, [child("c")]))
    if outcome == "cancelled":
        made = one(db, "select id from pgconductor.executions where parent is not null")[0]
        assert db.execute("select pgconductor.cancel(%s, 'so')", (made,)).fetchone() == (True,)
        owner.take_wakes()
    else:
        # What is tried again is not its end.
        owner.settle(owner.ready(), "failed", error='{"code":"app"}', after_ms=0)
        assert owner.wakes() == []
        end(owner, "c", "failed", error='{"code":"app"}')
    assert owner.journal(owner.ready()[0]) == {"c": {"error": {"failed": "app"}.get(outcome, outcome)}}


def test_all_children_at_once(db, owner, at):
    run = parent_run(db, owner)
    owner.suspend((run, [child(k) for k in "abcd"]))
    assert state(db, run[0]) == ("suspended", "a, b, c, ...")
    runs = owner.ready()
    owner.settle(runs[:1], result="1")
    owner.take_wakes()
    assert row_of(db, run[0])["pending"] == 3 and state(db, run[0]) == ("suspended", "b, c, d")
    owner.settle(runs[1:3], result="2")
    owner.settle(runs[3:], "failed", retry=False)
    owner.take_wakes()
    (run,) = owner.ready()
    assert owner.journal(run) == {"a": 1, "b": 2, "c": 2, "d": {"error": None}}


def test_the_first_of_two_children(db, owner, at):
    run = parent_run(db, owner)
    owner.suspend((run, [child("a"), child("b")], True))
    end(owner, "b")
    run = owner.run_of(run[0])
    assert owner.journal(run) == {"b": 1}
    # Waiting for the other: it is the same one, with what came meanwhile.
    owner.suspend((run, [child("a"), child("b")]))
    assert children(db) == ["a"] and owner.run_of(run[0]) is None
    end(owner, "a", result="2")
    run = owner.run_of(run[0])
    assert owner.journal(run) == {"a": 2, "b": 1}


def test_a_child_that_ends_while_its_parent_runs(db, owner, at):
    run = parent_run(db, owner)
    owner.suspend((run, [child("a"), child("b")], True))
    end(owner, "a")
    run = owner.run_of(run[0])
    end(owner, "b")
    assert owner.run_of(run[0]) == run
    owner.suspend((run, [child("b")]))
    run = owner.run_of(run[0])
    assert owner.journal(run) == {"a": 1, "b": 1}


def test_a_wake_that_nobody_needs_now(db, owner, at):
    """The loser of a race ends while its parent waits for something else: counted once, and only where it belongs."""
    run = parent_run(db, owner)
    owner.suspend((run, [child("a"), child("b")], True))
    end(owner, "a")
    # Only time is waited for.
    owner.suspend((owner.run_of(run[0]), [timer("nap", 60)]))
    end(owner, "b")
    assert owner.run_of(run[0]) is None
    at(60)
    owner.promote()
    run = owner.run_of(run[0])
    assert owner.journal(run) == {"a": 1, "b": 1, "nap": None}
    # Another child: the parent may go on too early, never too late.
    owner.suspend((run, [child("c"), child("d")], True))
    end(owner, "c")
    owner.suspend((owner.run_of(run[0]), [child("e")]))
    end(owner, "d")
    run = owner.run_of(run[0])
    if run:
        owner.suspend((run, [child("e")]))
    assert children(db) == ["e"] and owner.run_of(run[0]) is None
    end(owner, "e")
    assert owner.journal(owner.run_of(run[0]))["e"] == 1


def test_a_child_or_a_timer(db, owner, at):
    first, second = parent_run(db, owner), parent_run(db, owner)
    owner.suspend((first, [child("c"), timer("t", 60)], True), (second, [child("d"), timer("t", 60)], True))
    end(owner, "c")
    assert owner.journal(owner.run_of(first[0])) == {"c": 1}
    at(60)
    assert owner.promote()[0] == 1
    assert owner.journal(owner.run_of(second[0])) == {"t": None}
    assert children(db) == ["d"]


def test_a_child_and_a_timer(db, owner, at):
    first, second = parent_run(db, owner), parent_run(db, owner)
    owner.suspend((first, [child("c"), timer("t", 60)]), (second, [child("d"), timer("t", 60)]))
    end(owner, "c")
    assert owner.run_of(first[0]) is None
    at(60)
    assert owner.promote()[0] == 2
    assert owner.journal(owner.run_of(first[0])) == {"c": 1, "t": None}
    assert owner.run_of(second[0]) is None and row_of(db, second[0])["pending"] == 1
    end(owner, "d")
    assert owner.journal(owner.run_of(second[0])) == {"d": 1, "t": None}


def test_timeout_of_one_child(db, owner, at):
    run = parent_run(db, owner)
    owner.suspend((run, [child("slow", timeout_ms=10000), child("c")]))
    slow = [r for r in owner.ready() if row_of(db, r[0])["parent_key"] == "slow"]
    at(9)
    assert owner.promote()[2] == 1000
    at(10)
    assert owner.promote()[0] == 1
    # Its owner is told to cancel it.
    assert owner.take_wakes() == []
    assert one(db, "select state, error ->> 'code' from pgconductor.executions_all where id = %s", slow[0][0]) == ("cancelled", "cancelled")
    assert owner.settle(slow) == 0
    owner.take_wakes()
    assert row_of(db, run[0])["pending"] == 1
    end(owner, "c")
    run = owner.run_of(run[0])
    assert owner.journal(run) == {"slow": {"error": "timeout"}, "c": 1} and owner.wakes() == []


def test_timeout_of_everything(db, owner, at):
    run = parent_run(db, owner)
    owner.suspend((run, [child("a", timeout_ms=99000), child("b"), timer("t", 60), timer("u", 5)], False, 10000))
    end(owner, "b")
    at(5)
    owner.promote()
    assert owner.run_of(run[0]) is None
    at(10)
    owner.promote()
    assert owner.journal(owner.run_of(run[0])) == {"a": {"error": "timeout"}, "b": 1, "t": {"error": "timeout"}, "u": None}
    owner.take_wakes()
    assert children(db) == []
    # A timer alone.
    run = parent_run(db, owner)
    owner.suspend((run, [timer("t", 60)], None, 10000))
    at(20)
    owner.promote()
    assert owner.journal(owner.run_of(run[0])) == {"t": {"error": "timeout"}}


def test_a_limit_goes_on_and_may_be_shortened(db, owner, at):
    run = parent_run(db, owner)
    owner.suspend((run, [child("a", timeout_ms=60000), child("b")], True))
    end(owner, "b")
    at(30)
    owner.suspend((owner.run_of(run[0]), [child("a", timeout_ms=60000)]))
    assert row_of(db, run[0])["run_at"] == "2030-01-01T00:01:00+00:00"
    at(60)
    owner.promote()
    run = owner.run_of(run[0])
    assert owner.journal(run) == {"a": {"error": "timeout"}, "b": 1}
    owner.suspend((run, [child("c"), child("d")], True))
    end(owner, "c")
    owner.suspend((owner.run_of(run[0]), [child("d")], None, 1000))
    at(61)
    owner.promote()
    assert owner.journal(owner.run_of(run[0]))["d"] == {"error": "timeout"}


def test_what_came_in_time_stands(db, owner, at):
    """The child has ended, its wake is not taken yet, and the time is over: one of the two, and never both."""
    run = parent_run(db, owner)
    owner.suspend((run, [child("c", timeout_ms=1000)]))
    made = [r for r in owner.ready() if r[0] != run[0]]
    owner.settle(made, result="1")
    at(1)
    owner.promote()
    run = owner.run_of(run[0])
    assert owner.journal(run) == {"c": {"error": "timeout"}}
    owner.take_wakes()
    assert owner.journal(run) == {"c": {"error": "timeout"}} and owner.run_of(run[0]) == run


def test_time_in_all_ends_what_is_suspended(db, owner, at):
    declare(db, total_timeout="1m")
    owner.writer.execute("select 1")
    made = owner.call("select pgconductor.invoke('work')")[0][0]
    run = owner.run_of(made)
    owner.suspend((run, [child("c"), timer("t", 3600)]))
    assert row_of(db, made)["run_at"] == "2030-01-01T00:01:00+00:00"
    at(61)
    owner.promote()
    run = owner.run_of(made)
    assert run and owner.journal(run) == {}
    # The master ends it; nobody waits for its child any more.
    owner.settle([run], "failed", error='{"code":"timeout"}', retry=False)
    assert owner.take_wakes() == [] and children(db) == []
    assert one(db, "select count(*) from pgconductor.steps") == (0,) == one(db, "select count(*) from pgconductor.wakes")


def test_losers_are_cancelled_with_their_parents_end(db, owner, at):
    run = parent_run(db, owner)
    owner.suspend((run, [child("a"), child("b")], True))
    end(owner, "a")
    assert owner.settle([owner.run_of(run[0])]) == 1
    owner.take_wakes()
    assert [r[0] for r in db.execute("select state from pgconductor.executions_all order by id").fetchall()] == ["completed", "completed", "cancelled"]
    assert owner.wakes() == []


def test_locked_ones_are_left(db, owner, at, connect):
    runs = [parent_run(db, owner) for _ in range(3)]
    client = connect(autocommit=False)
    client.execute("select pgconductor.cancel(%s)", (runs[1][0],))
    gone = (99999, "1", 0)
    assert owner.suspend(*((r, [timer("t", 9), child("c")]) for r in (runs[0], gone, runs[1], runs[2]))) == [3]
    assert children(db) == ["c", "c"] and owner.run_of(runs[1][0]) == runs[1]
    client.rollback()
    assert owner.suspend((runs[1], [timer("t", 9)])) == []
    at(9)
    assert owner.promote()[0] == 3
    # A wake for one that a client holds locked stays.
    client.execute("select from pgconductor.executions where id = %s for update", (runs[0][0],))
    owner.settle([r for r in owner.ready() if row_of(db, r[0]) and row_of(db, r[0])["parent_key"] == "c"])
    wakes = owner.wakes()
    locked = [n for n, w in enumerate(wakes, 1) if one(db, "select execution from pgconductor.wakes where id = %s", w[2])[0] == runs[0][0]]
    assert owner.take_wakes(wakes) == locked and len(locked) == 1
    client.rollback()
    assert owner.take_wakes() == [] and owner.wakes() == []
    assert sorted(r[0] for r in owner.ready()) == sorted(r[0] for r in runs)


def test_a_named_queue(db, owner, at):
    run = parent_run(db, owner)
    owner.suspend((run, [child("a", queue="far"), child("b", queue="default")]))
    assert db.execute("select parent_key, queue, shard in (select id from pgconductor.shards s where s.queue = e.queue)"
                      " from pgconductor.executions e where parent is not null order by 1").fetchall() == [
                          ("a", "far", True), ("b", "default", True)]


def test_one_key_twice(db, owner, at):
    """In one SUSPEND: it is refused as a whole, and nothing else is."""
    run, other = parent_run(db, owner), parent_run(db, owner)
    owner.note([run])
    given = ((run, [child("b"), child("a"), timer("a", 5), timer("c", 5)]), (other, [child("x")]), (run, []))
    assert owner.suspend(*given[:2]) == [(1, "a")]
    assert children(db) == ["x"] and owner.run_of(run[0]) == run and owner.journal(run) == {}
    assert row_of(db, other[0])["pending"] == 1
    # As the master does then.
    owner.settle([run], "failed", error='{"code":"nondeterminism"}', retry=False)
    assert state(db, run[0])[0] == "failed"


def test_waiting_for_what_is_over(db, owner, at):
    """It came with the run: whoever waits for it does not look, and would be resumed for ever."""
    run = parent_run(db, owner)
    owner.save(run, {"s": "1"})
    assert owner.suspend((run, [timer("s", 60)])) == [(1, "s")]
    owner.suspend((run, [timer("nap", 5)]))
    at(5)
    owner.promote()
    run = owner.run_of(run[0])
    for waits in ([timer("nap", 5)], [child("s"), timer("nap", 5)]):
        assert owner.suspend((run, waits)) == [(1, waits[0]["key"])]
    assert owner.run_of(run[0]) == run and children(db) == []
    # One of several is enough where one is enough to go on.
    assert owner.suspend((run, [child("a"), timer("nap", 5)], True)) == [(1, "nap")]
    assert owner.suspend((run, [child("a"), timer("nap", 5)])) == []
    end(owner, "a")
    run = owner.run_of(run[0])
    assert owner.suspend((run, [child("a")])) == [(1, "a")]
    # Of a child that was never made, or that took too long, too; and in a later life.
    owner.suspend((run, [{"key": "u", "task": "nobody"}, child("slow", timeout_ms=1000)]))
    at(7)
    owner.promote()
    run = owner.run_of(run[0])
    assert owner.suspend((run, [child("u")])) == [(1, "u")] and owner.suspend((run, [child("slow")])) == [(1, "slow")]
    owner.settle([run], "failed", retry=False)
    assert db.execute("select pgconductor.retry(%s)", (run[0],)).fetchone() == (True,)
    assert owner.suspend((owner.run_of(run[0]), [timer("nap", 5)])) == [(1, "nap")]


def test_what_ended_while_it_ran_may_be_waited_for(db, owner, at):
    """The run was not told of it; not either if it was moved meanwhile."""
    for moved in (False, True):
        run = parent_run(db, owner)
        owner.suspend((run, [child("a"), child("b"), timer("t", 60)], True))
        end(owner, "a")
        run = owner.run_of(run[0])
        end(owner, "b")
        if moved:
            for _ in range(2):
                (new,), = owner.call("select new_xid from pgconductor.rehome_to(array[%s]::bigint[], array[%s]::xid8[], %s)",
                                     run[0], run[1], sorted(owner.epochs)[0])
                run = (run[0], new, 0)
        assert owner.suspend((run, [child("b")], True)) == []
        run = owner.run_of(run[0])
        assert owner.journal(run) == {"a": 1, "b": 1} and owner.suspend((run, [child("b")])) == [(1, "b")]


def test_bad_data_is_for_one_batch(db, owner, at):
    run = parent_run(db, owner)
    with pytest.raises(psycopg.DataError):
        owner.suspend((run, [child("a", payload="{")]))
    assert owner.run_of(run[0]) == run


def test_an_outcome_cannot_be_saved_over(db, owner, at):
    run = parent_run(db, owner)
    owner.suspend((run, [child("a"), child("b")], True))
    end(owner, "a")
    run = owner.run_of(run[0])
    assert owner.save(run, {"a": "9", "b": "9", "c": "9"}) == ["used", "used", "ok"]


def test_a_restored_dump(db, owner, at):
    """Numbers of another cluster, beyond the present ones: wakes are renumbered as runs are."""
    run = parent_run(db, owner)
    owner.suspend((run, [child("a")]))
    owner.settle([r for r in owner.ready() if r[0] != run[0]])
    db.execute("update pgconductor.wakes set xid = '900000000'")
    owner.take(sorted(owner.epochs))
    (wake,) = owner.wakes()
    assert int(wake[1]) < 900000000
    owner.take_wakes()
    assert owner.journal(owner.run_of(run[0])) == {"a": None}
