"""Steps: saving what an execution has done, reading it again, history and retries, limits on the whole of it."""

import json

import psycopg
import pytest

from support.sqlnode import Node, declare, invoke, one, row_of


@pytest.fixture
def node(db, connect):
    db.execute("select pgconductor.ensure_queue('default', 1)")
    declare(db)
    made = Node(connect).serve("default/work")
    made.settle_in()
    return made


def count(db, table):
    return one(db, f"select count(*) from pgconductor.{table}")[0]


def test_saved_once(db, node):
    invoke(db)
    invoke(db)
    a, b = node.ready()
    assert node.save_steps([(a, "x", "1"), (b, "x", '{"k": 12.50}'), (a, "y", None)]) == ["ok"] * 3
    assert node.save_steps([(a, "z", "3"), (a, "x", "2"), (b, "z", "2")]) == ["ok", "used", "ok"]
    assert node.journal(a) == {"x": 1, "y": None, "z": 3}
    assert [s[3] for s in node.steps(b)] == ['{"k": 12.50}', "2"]
    # Twice within one batch: the first.
    assert node.save(a, [("w", "1"), ("w", "2"), ("v", "3")]) == ["ok", "used", "ok"]
    assert node.journal(a)["w"] == 1


def test_any_value_comes_back_as_it_was(db, node):
    invoke(db)
    (run,) = node.ready()
    values = ["0", "false", '""', "null", "12.50", "[]", "100000000000000000000", '"\\u0000"', '"\\ud800"', '{"b":1,"a":[ 1 ]}']
    assert node.save(run, [(str(i), v) for i, v in enumerate(values)]) == ["ok"] * len(values)
    assert [s[3] for s in node.steps(run)] == values
    node.settle([run], "failed", retry=False)
    assert db.execute("select pgconductor.retry(%s)", (run[0],)).fetchone() == (True,)
    (run,) = node.ready()
    assert [s[3] for s in node.steps(run)] == values


def test_only_the_current_run_saves(db, node):
    made = invoke(db)
    (old,) = node.ready()
    node.settle([old], "deferred", after_ms=0)
    (run,) = node.ready()
    assert node.save_steps([(old, "x", "1"), (run, "x", "2"), (old, "x", "3"), ((made + 1, "5"), "x", "1")]) == [
        "gone", "ok", "gone", "gone"]
    assert node.journal(run) == {"x": 2}
    db.execute("select pgconductor.cancel(%s)", (made,))
    assert node.save(run, {"y": "1"}) == ["gone"]
    assert count(db, "steps") == 0


def test_sent_again_after_an_unknown_commit(db, node):
    invoke(db)
    (run,) = node.ready()
    assert node.save(run, {"x": "1", "y": "2"}) == ["ok", "ok"]
    assert node.save(run, {"x": "1", "y": "2", "z": "3"}, again=True) == ["ok"] * 3
    assert node.save(run, {"x": "1"}) == ["used"]
    # What an earlier run has saved is no echo.
    node.settle([run], "failed", after_ms=0)
    (run,) = node.ready()
    assert node.save(run, {"x": "1", "w": "1"}, again=True) == ["used", "ok"]


def test_a_client_that_cancels_is_not_waited_for(db, node, connect):
    made = invoke(db)
    other = invoke(db)
    runs = {r[0]: r for r in node.ready()}
    client = connect(autocommit=False)
    client.execute("select pgconductor.cancel(%s)", (made,))
    assert node.save_steps([(runs[made], "x", "1"), (runs[other], "x", "1")]) == ["locked", "ok"]
    client.rollback()
    assert node.save_steps([(runs[made], "x", "1"), (runs[other], "x", "1")], again=True) == ["ok", "ok"]
    client.execute("select pgconductor.cancel(%s)", (made,))
    client.commit()
    assert node.save(runs[made], {"y": "1"}) == ["gone"]
    assert count(db, "steps") == 1


def test_steps_stay_through_attempts(db, node):
    made = invoke(db)
    (run,) = node.ready()
    node.save(run, {"x": "1"})
    assert row_of(db, made)["journal"] is None
    node.settle([run], "failed", after_ms=0)
    (run,) = node.ready()
    assert row_of(db, made)["journal"] is True and node.journal(run) == {"x": 1}
    node.settle([run], "deferred", after_ms=3600000)
    assert row_of(db, made)["journal"] is True
    # A run without steps has none to be read.
    other = invoke(db)
    node.settle(node.ready(), "failed", after_ms=0)
    assert row_of(db, other)["journal"] is None


def test_a_poll_says_what_is_to_be_known(db, node):
    shard = sorted(node.epochs)[0]
    declare(db, "limited", total_timeout="1h")
    plain, limited = invoke(db), invoke(db, "limited")
    run = node.run_of(plain)
    node.save(run, {"x": "1"})
    node.suspend((run, [{"key": "c", "task": "work"}]))
    child = one(db, "select id from pgconductor.executions where parent = %s", plain)[0]

    def flags():
        rows = node.reader.execute("select id, parent, journal, expires_ms from pgconductor.poll(%s, %s, '{0}', '{0}', '{0}',"
                                   " '{18446744073709551615}', '{100}') where entry = 1", ([shard], [shard])).fetchall()
        return {r[0]: r[1:] for r in rows}
    found = flags()
    assert found[child] == (plain, None, None)
    assert found[limited][:2] == (None, None) and 3590000 < found[limited][2] <= 3600000
    node.settle([node.run_of(child)], "completed")
    node.take_wakes()
    assert flags()[plain] == (None, True, None)


def test_history_has_the_steps(db, node):
    for settle in ("settle_plain", "settle", "cancel"):
        made = invoke(db)
        (run,) = node.ready()
        node.save(run, {"x": "[1]", "y": None})
        if settle == "cancel":
            db.execute("select pgconductor.cancel(%s)", (made,))
        elif settle == "settle_plain":
            # Only its client knew of a step: the row says so.
            db.execute("select pgconductor.save_step(%s, %s, 'z', '3')", (made, node.token(run)))
            assert node.settle_plain([run]) == 1
        else:
            node.settle([run], result="1")
        assert count(db, "steps") == 0
        kept = one(db, "select to_json(steps)::text from pgconductor.finished_executions where id = %s", made)[0]
        assert json.loads(kept)[:2] == [{"key": "x", "result": [1], "error": None}, {"key": "y", "result": None, "error": None}]
        assert db.execute("select key, result::text, error, due_at from pgconductor.execution_steps(%s)", (made,)).fetchall()[:2] == [
            ("x", "[1]", None, None), ("y", "null", None, None)]
        assert len(json.loads(kept)) == (3 if settle == "settle_plain" else 2)
    plain = invoke(db)
    node.settle_plain(node.ready())
    assert one(db, "select steps from pgconductor.finished_executions where id = %s", plain) == (None,)


def test_plain_and_careful_in_one_batch(db, node):
    made = [invoke(db) for _ in range(4)]
    runs = node.ready()
    db.execute("select pgconductor.save_step(%s, %s, 'x', '1')", (made[1], node.token(runs[1])))
    db.execute("select pgconductor.cancel(%s)", (made[2],))
    assert node.settle_plain(runs, result="7") == 3
    assert db.execute("select id, state, result::text, steps is not null from pgconductor.finished_executions order by id"
                      ).fetchall() == [(made[0], "completed", "7", False), (made[1], "completed", "7", True),
                                       (made[2], "cancelled", None, False), (made[3], "completed", "7", False)]


def test_retry_goes_on_from_its_steps(db, node):
    declare(db, max_attempts=1)
    made = invoke(db)
    (run,) = node.ready()
    node.save(run, {"x": "1"})
    node.suspend((run, [{"key": "c", "task": "nobody"}]))
    (run,) = node.ready()
    assert node.journal(run) == {"x": 1, "c": {"error": "unknown_task"}}
    node.settle([run], "failed")
    assert db.execute("select pgconductor.retry(%s)", (made,)).fetchone() == (True,)
    (run,) = node.ready()
    # What was waited for in vain is waited for anew.
    assert row_of(db, made)["journal"] is True and node.journal(run) == {"x": 1}


def test_retry_waits_anew_for_what_was_not_over(db, node):
    """Cancelled while it slept, or waited: what had come stays, the rest does not come back."""
    for waits, left in (([{"key": "nap", "timer_ms": 3600000}, {"key": "nap2", "timer_ms": 0}], {"x": 1, "done": None}),
                        ([{"key": "c", "task": "work"}, {"key": "t", "timer_ms": 0}], {"x": 1, "done": None})):
        made = invoke(db)
        run = node.run_of(made)
        node.save(run, {"x": "1"})
        node.suspend((run, [{"key": "done", "timer_ms": 0}]))
        node.suspend((node.run_of(made), waits))
        assert db.execute("select pgconductor.cancel(%s)", (made,)).fetchone() == (True,)
        assert count(db, "steps") == 0 == count(db, "executions")
        assert db.execute("select pgconductor.retry(%s)", (made,)).fetchone() == (True,)
        run = node.run_of(made)
        got = node.journal(run)
        assert got in (left, left | {"t": None}) and node.suspend((run, waits)) == []
        assert row_of(db, made)["waiting"] == "suspended"
        assert count(db, "executions") == (2 if "task" in waits[0] else 1)
        db.execute("select pgconductor.cancel(%s)", (made,))
    # Over, but not run again yet: that is done.
    made = invoke(db)
    node.suspend((node.run_of(made), [{"key": "nap", "timer_ms": 0}]))
    db.execute("select pgconductor.cancel(%s)", (made,))
    db.execute("select pgconductor.retry(%s)", (made,))
    assert node.journal(node.run_of(made)) == {"nap": None}


def test_time_in_all_does_not_end_a_sleep(db, node):
    """It ended its execution, in the middle of it: whoever retries that sleeps anew."""
    declare(db, total_timeout="50ms")
    made = invoke(db)
    node.suspend((node.run_of(made), [{"key": "nap", "timer_ms": 3600000}]))
    while node.promote()[0] == 0:
        pass
    run = node.run_of(made)
    assert node.journal(run) == {}
    node.settle([run], "failed", error='{"code":"timeout"}', retry=False)
    db.execute("select pgconductor.retry(%s)", (made,))
    assert node.journal(node.run_of(made)) == {}


def test_what_is_left_of_nobody_is_swept(db, node, connect):
    """Rows that were removed by hand leave steps and wakes; upkeep removes them, and nothing else."""
    made = [invoke(db) for _ in range(8)]
    runs = node.ready()
    node.save_steps([(r, str(k), "1") for r in runs for k in range(5)])
    node.suspend((runs[0], [{"key": "c", "task": "work"}]))
    child = one(db, "select id from pgconductor.executions where parent = %s", made[0])[0]
    db.execute("insert into pgconductor.wakes (execution, wait, shard, key) values (%s, 1, 77, 'a'), (%s, 1, 77, 'a'), (0, 1, 1, null)",
               (made[1], made[0]))
    db.execute("delete from pgconductor.executions where id = any (%s)", (made[1:4] + made[6:],))
    # The children of what is gone are somebody's work still.
    sweep = connect()
    statements = [r[0] for r in sweep.execute("select pgconductor.upkeep(true)").fetchall() if "sweep" in r[0]]
    assert statements == ["select pgconductor.sweep(10000)"]
    for most in (7, 10000):
        while sweep.execute(f"select pgconductor.sweep({most})").fetchone()[0]:
            pass
        left = dict(db.execute("select execution, count(*)::int from pgconductor.steps group by 1").fetchall())
        assert left == {made[0]: 6, made[4]: 5, made[5]: 5}
        assert db.execute("select execution from pgconductor.wakes").fetchall() == [(made[0],)]
    assert row_of(db, child) and node.journal(node.run_of(made[4])) == {str(k): 1 for k in range(5)}


def test_a_crash_keeps_the_steps(db, connect, node):
    made = invoke(db)
    (run,) = node.ready()
    node.note([run])
    node.save(run, {"x": "1"})
    node.die()
    second = Node(connect).serve("default/work")
    while not second.settle_in():
        pass
    row = row_of(db, made)
    assert (row["attempt"], row["error"]["code"], row["journal"]) == (1, "crash", True)
    db.execute("update pgconductor.executions set run_at = now()")
    second.promote()
    (run,) = second.ready()
    assert second.journal(run) == {"x": 1}


def test_pages(db, node):
    invoke(db)
    invoke(db)
    a, b = node.ready()
    node.save(a, [(f"k{i}", f'"{i}"') for i in range(2500)])
    node.save(b, {"big": '"' + "x" * 300000 + '"', "small": "1", "last": "2"})
    seen, after = [], 0
    while True:
        rows = node.steps(a, after=after)
        seen += [r[2] for r in rows]
        after = rows[-1][1]
        if not rows[-1][5]:
            break
        assert len(rows) == 1000 and all(r[5] for r in rows)
    assert seen == [f"k{i}" for i in range(2500)]
    # By bytes: one at least.
    rows = node.steps(b, a, most=1000)
    assert [(r[0], r[2], r[5]) for r in rows if r[0] == b[0]] == [(b[0], "big", True)]
    assert 100 < len([r for r in rows if r[0] == a[0]]) < 400
    assert [r[2] for r in node.steps(b, after=rows[0][1], most=1000)] == ["small", "last"]


def test_what_leaves_its_shard_takes_its_journal_along(db, node):
    made = [invoke(db) for _ in range(2)]
    runs = node.ready()
    node.save(runs[0], {"x": "1"})
    assert node.call("select pgconductor.park(%s::bigint[], %s::xid8[], 'unserved')", made, [r[1] for r in runs])[0][0] == []
    assert [row_of(db, i)["journal"] for i in made] == [True, None]
    node.call("select pgconductor.unpark(%s)", sorted(node.epochs))
    run = node.run_of(made[0])
    assert node.journal(run) == {"x": 1}
    db.execute("update pgconductor.executions set journal = null")
    node.call("select pgconductor.rehome_to(%s::bigint[], %s::xid8[], %s)", made, [r[1] for r in node.ready()], sorted(node.epochs)[0])
    assert [row_of(db, i)["journal"] for i in made] == [True, None]


def test_progress(db, node):
    made = invoke(db)
    (run,) = node.ready()
    tell = "select pgconductor.set_progress(%s::bigint[], %s::xid8[], %s::int[], %s::text[])"
    node.call(tell, [made], [run[1]], [10], ["a"])
    node.note([run])
    view = "select state, percent, note from pgconductor.executions_all where id = %s"
    assert one(db, view, made) == ("running", None, None)
    node.call(tell, [made, 99999], [run[1], "1"], [10, 1], ["reading", "x"])
    assert one(db, view, made) == ("running", 10, "reading")
    node.call(tell, [made], [run[1]], [250], [None])
    node.note([run])
    assert one(db, view, made) == ("running", 100, "reading")
    node.call(tell, [made], ["1"], [5], ["old"])
    assert one(db, view, made) == ("running", 100, "reading")


def test_no_attempt_after_the_time_in_all(db, node):
    declare(db, total_timeout="1m", backoff="2m", max_attempts=5)
    first, second, third = invoke(db), invoke(db), invoke(db)
    runs = {r[0]: r for r in node.ready()}
    assert one(db, "select expires_at - created_at = '1 minute' from pgconductor.executions where id = %s", first) == (True,)
    node.settle([runs[first]], "failed", error='{"code":"app","message":"\\u0000"}')
    state, attempt, error = one(db, "select state, attempt, error::text from pgconductor.finished_executions where id = %s", first)
    assert (state, attempt) == ("failed", 1)
    assert json.loads(error)["code"] == "timeout" and '"cause" : {"code":"app","message":"\\u0000"}' in error
    node.settle([runs[second]], "failed", after_ms=1000)
    assert row_of(db, second)["attempt"] == 1
    node.settle([runs[third]], "completed")
    # From when it is due.
    late = invoke(db, delay="1 hour")
    items = one(db, "select pgconductor.invoke_batch('work', '[{}, {\"delay\": \"1 hour\"}]')")[0]
    items += one(db, "select pgconductor.invoke_batch('work', '[{\"payload\":1}]')")[0]
    for i in (late, *items):
        assert one(db, "select expires_at - run_at = '1 minute' from pgconductor.executions where id = %s", i) == (True,)
    declare(db, total_timeout=None)
    assert row_of(db, invoke(db))["expires_at"] is None
    with pytest.raises(psycopg.Error) as caught:
        declare(db, total_timeout="soon")
    assert caught.value.sqlstate == "PC008"


def call(node, run, name, args, draft=None, again=False):
    return node.call("select pgconductor.make_call(%s, %s, %s, %s::json, %s, %s)::text", run[0], run[1], name, args, draft, again)[0][0]


def test_calls(db, node):
    invoke(db)
    (run,) = node.ready()
    first, second, third = (r[0] for r in node.call("select pgconductor.draw_ids(3)"))
    payload = '{"b" : "\\u0000", "a\\\\": 12.50}'
    assert call(node, run, "invoke", '{"task": "work", "payload": %s, "priority": 3}' % payload, first) == f'"{first}"'
    row = one(db, "select payload::text, priority, parent, awaited from pgconductor.executions where id = %s", first)
    assert row == (payload, 3, None, True)
    # Sent again, at once and after it has finished.
    assert call(node, run, "invoke", '{"task": "work"}', first, True) == f'"{first}"'
    node.settle([node.run_of(first)])
    assert call(node, run, "invoke", '{"task": "work"}', first, True) == f'"{first}"'
    assert row_of(db, first) is None
    assert call(node, run, "invoke", '{"task": "work", "delay": "1 hour", "metadata": {"x": 1}}', second, True) == f'"{second}"'
    assert row_of(db, second)["metadata"] == {"x": 1} and row_of(db, second)["payload"] is None
    assert call(node, run, "cancel", '{"id": "%s", "reason": "so"}' % second) == "true"
    assert call(node, run, "cancel", '{"id": "%s"}' % second) == "false"
    assert call(node, run, "cancel", '{"id": "%s"}' % second, again=True) == "true"
    for name, args, code in (("invoke", '{"task": "none"}', "PC001"), ("invoke", '{"task": "work", "payload2": 1}', "PC009"),
                             ("invoke", "[]", "PC009"), ("invoke", '{"task": "work", "queue": "Bad"}', "PC004"),
                             ("invoke", "{}", "PC001"), ("cancel", '{"id": "x"}', "PC009"), ("dance", "{}", "PC009")):
        with pytest.raises(psycopg.Error) as caught:
            call(node, run, name, args, third)
        assert caught.value.sqlstate == code, args
    # A run that is no more may not.
    node.settle([run], "deferred", after_ms=0)
    assert call(node, run, "invoke", '{"task": "work"}', third) is None
    assert row_of(db, third) is None
