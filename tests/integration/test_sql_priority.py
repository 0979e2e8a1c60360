"""The priority of a task: what all that is made of it has, whoever makes it, unless that says otherwise."""

import json

import psycopg
import pytest

from support.sqlnode import declare, invoke, one, owner_of


@pytest.fixture
def owner(db, connect):
    found = owner_of(db, connect, "work", "plain")
    declare(db, priority=7)
    declare(db, "plain")
    return found


def levels(db, task="work"):
    """The priorities of what there is, in the order in which it was made; and that each one's lane is looked at."""
    rows = db.execute("select priority, lane = -priority and exists (select from pgconductor.lanes l where l.shard = e.shard and"
                      " l.lane = e.lane) from pgconductor.executions e where task = %s order by id", (task,)).fetchall()
    assert all(seen for _, seen in rows), rows
    return [level for level, _ in rows]


@pytest.mark.parametrize("payload", ["::text", "::json", "::jsonb"])
def test_invoke(db, owner, payload):
    db.execute(f"select pgconductor.invoke('work', '1'{payload}), pgconductor.invoke('work', '1'{payload}, priority => 0),"
               f" pgconductor.invoke('work', '1'{payload}, priority => -3), pgconductor.invoke('work', '1'{payload}, delay => '1h'),"
               f" pgconductor.invoke('work', '1'{payload}, priority => null)")
    assert levels(db) == [7, 0, -3, 7, 7]
    db.execute(f"select pgconductor.invoke('plain', '1'{payload}), pgconductor.invoke('plain', '1'{payload}, priority => 0)")
    assert levels(db, "plain") == [0, 0]


def test_invoke_large(db, owner):
    invoke(db, payload=json.dumps("x" * 5000))
    assert levels(db) == [7]


def test_batch(db, owner):
    db.execute("select pgconductor.invoke_batch('work', '[{\"payload\": 1}, {\"payload\": 2}]')")
    db.execute("""select pgconductor.invoke_batch('work', '[{"payload": 1, "priority": 0}, {"payload": "\\u0000"},
        {"payload": 3, "priority": null, "dedupe_key": "a"}, {"payload": 3, "priority": 9, "delay": "1h"}]')""")
    assert levels(db) == [7, 7, 0, 7, 7, 9]


def test_the_last_of_a_burst(db, owner):
    made = invoke(db, debounce="1h", priority=1)
    assert levels(db) == [1]
    assert invoke(db, debounce="1h") == made
    assert levels(db) == [7]
    db.execute("""select pgconductor.invoke_batch('work', '[{"payload": 1, "debounce": "1h", "priority": 2}]')""")
    assert levels(db) == [2]
    db.execute("""select pgconductor.invoke_batch('work', '[{"payload": 1, "debounce": "1h"}]')""")
    assert levels(db) == [7]


def test_children(db, owner):
    parent = invoke(db, "plain")
    owner.suspend((owner.run_of(parent), [{"key": "a", "task": "work"}, {"key": "b", "task": "work", "priority": 0},
                                          {"key": "c", "task": "plain"}]))
    assert levels(db) == [7, 0]
    assert levels(db, "plain") == [0, 0]


def test_what_events_and_schedules_make(db, owner):
    db.execute("select pgconductor.declare_triggers('code:app', 'work', '[{\"event\": \"e\"}, {\"invocable\": true}]')")
    one(db, "select pgconductor.emit('e', '1'::text)")
    owner.dispatch_all()
    assert levels(db) == [7]
    db.execute("select pgconductor.schedule('work', 'often', '* * * * *')")
    db.execute("select pgconductor.fake_now(pgconductor.now() + interval '61 s')")
    assert one(db, "select fired from pgconductor.fire_schedules(10)")[0] >= 1
    assert set(levels(db)) == {7}


def test_run_time_comes_first_and_a_retry_keeps_it(db, owner):
    made = invoke(db)
    owner.settle([owner.run_of(made)], "failed", error='{"code": "app", "message": "no"}', retry=False)
    db.execute("""select pgconductor.declare_task('work', options => '{"priority": -1}', source => 'set')""")
    invoke(db)
    assert one(db, "select pgconductor.retry(%s)", made) == (True,)
    assert levels(db) == [7, -1]
    assert db.execute("select value, source from pgconductor.task_options() where task = 'work' and option = 'priority'"
                      ).fetchall() == [(-1, "set")]


@pytest.mark.parametrize("bad", ['"high"', "1.5", "32768", "-32769", "true"])
def test_what_is_none(db, bad):
    with pytest.raises(psycopg.Error, match="priority: not a whole number") as caught:
        db.execute("select pgconductor.declare_task('work', options => %s)", (f'{{"priority": {bad}}}',))
    assert caught.value.sqlstate == "PC008"


# ---- metadata of children

def test_children_inherit_metadata_and_have_their_own(db, owner):
    parent = invoke(db, "plain", metadata='{"tenant": "acme", "n": 1.50}')
    owner.suspend((owner.run_of(parent), [
        {"key": "a", "task": "work"}, {"key": "b", "task": "work", "metadata": {"tenant": "other", "x": "\u0000"}},
        {"key": "c", "task": "work", "metadata": {}}]))
    found = [r[0] for r in db.execute("select metadata::text from pgconductor.executions where task = 'work' order by id").fetchall()]
    assert found[0] == '{"tenant": "acme", "n": 1.50}'
    assert json.loads(found[1]) == {"tenant": "other", "n": 1.5, "x": "\u0000"} and "1.50" in found[1]
    assert json.loads(found[2]) == {"tenant": "acme", "n": 1.5}


def test_a_child_of_one_without_metadata(db, owner):
    parent = invoke(db, "plain")
    owner.suspend((owner.run_of(parent), [{"key": "a", "task": "work", "metadata": {"a": 1}}, {"key": "b", "task": "work"}]))
    assert db.execute("select metadata::text from pgconductor.executions where task = 'work' order by id").fetchall() == [
        ('{"a": 1}',), (None,)]
