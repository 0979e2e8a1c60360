"""edit, move and discard, and what is inherited, by the SQL functions alone."""

import json
import threading

import psycopg
import pytest

from support.sqlnode import Node, declare, invoke, one, row_of
from support.wait import wait_for


@pytest.fixture
def node(db, connect):
    db.execute("select pgconductor.ensure_queue('default', 1), pgconductor.ensure_queue('other', 1)")
    declare(db)
    node = Node(connect).serve("default/work", "other/work")
    node.settle_in()
    return node


def edit(db, execution, **given):
    names = ", ".join(f"{name} => %s" for name in given)
    return one(db, f"select pgconductor.edit(%s, {names})", execution, *given.values())[0]


def move(db, execution, queue):
    return one(db, "select pgconductor.move(%s, %s)", execution, queue)[0]


def shown(db, execution):
    return one(db, "select payload::text, priority, queue, metadata::text from pgconductor.executions_all where id = %s", execution)


def state(db, execution):
    return one(db, "select state, waiting from pgconductor.executions_all where id = %s", execution)


def refused(db, code, query, *args):
    with pytest.raises(psycopg.Error) as caught:
        db.execute(query, args or None)
    assert caught.value.sqlstate == code, caught.value
    return caught.value.diag.message_primary


def test_without_a_node_it_is_changed_at_once(db):
    declare(db)
    made = invoke(db, payload="1")
    before = row_of(db, made)["ready_xid"]
    assert edit(db, made, payload='{"n": 12.50, "z": "\\u0000"}', priority=7, metadata='{"k": "v"}')
    assert shown(db, made) == ('{"n": 12.50, "z": "\\u0000"}', 7, "default", '{"k": "v"}')
    after = row_of(db, made)
    assert int(after["ready_xid"]) > int(before) and after["lane"] == -7
    assert one(db, "select count(*) from pgconductor.lanes where shard = %s and lane = -7", after["shard"]) == (1,)
    # What is not given stays.
    assert edit(db, made, priority=-3) and shown(db, made) == ('{"n": 12.50, "z": "\\u0000"}', -3, "default", '{"k": "v"}')
    assert move(db, made, "fresh") and shown(db, made)[2] == "fresh"
    assert one(db, "select s.queue from pgconductor.shards s where s.id = %s", row_of(db, made)["shard"]) == ("fresh",)
    assert one(db, "select count(*) from pgconductor.wakes") == (0,)


def test_nobody_takes_the_shard_meanwhile(db, connect):
    """Fails when the node reads the row as it was: it would run as another run once more."""
    db.execute("select pgconductor.ensure_queue('default', 1)")
    declare(db)
    made = invoke(db, payload="1")
    client = connect(autocommit=False)
    assert edit(client, made, payload="2")
    node = Node(connect).serve("default/work")
    shards = [s for s, _, action in node.balance() if action == "take"]
    assert shards == [] and node.lock([row_of(db, made)["shard"]]) == []
    client.commit()
    assert len(node.settle_in()) == 1
    assert [r[0] for r in node.ready()] == [made] and shown(db, made)[0] == "2"


def test_a_delayed_one(db, node):
    made = invoke(db, payload="1", delay="1 hour")
    assert edit(db, made, payload="2", run_at="2100-01-01 00:00+00")
    assert one(db, "select state, run_at = '2100-01-01 00:00+00', payload::text from pgconductor.executions_all where id = %s",
               made) == ("delayed", True, "2")
    assert node.ready() == [] and move(db, made, "other") and shown(db, made)[2] == "other" and node.ready() == []
    # A time that has come makes it ready.
    assert edit(db, made, run_at="2000-01-01 00:00+00")
    assert node.run_of(made) and state(db, made) == ("ready", None)
    node.settle([node.run_of(made)])
    assert not edit(db, made, payload="3") and not move(db, made, "default")
    assert one(db, "select payload::text, queue from pgconductor.finished_executions where id = %s", made) == ("2", "other")


def test_its_overall_limit_goes_with_the_time(db, node):
    declare(db, "short", total_timeout="10m")
    made = invoke(db, "short", delay="1 hour")
    left = "select extract(epoch from expires_at - run_at)::int from pgconductor.executions where id = %s"
    assert one(db, left, made) == (600,)
    assert edit(db, made, run_at="2100-01-01 00:00+00") and one(db, left, made) == (600,)


def test_a_ready_one_is_changed_by_its_owner(db, node):
    made = invoke(db, payload="1")
    run = node.run_of(made)
    assert edit(db, made, payload="2", priority=5)
    # Until then it is as it was.
    assert node.run_of(made) == run and shown(db, made)[:2] == ("1", 0)
    assert [c[3] for c in node.changes()] == [run[1]]
    assert node.take_changes() == [(1, True, False)]
    now = node.run_of(made)
    assert now[1] != run[1] and shown(db, made)[:2] == ("2", 5) and node.changes() == []
    # The run that it was is none any more.
    assert node.settle([run]) == 0 and node.settle([now]) == 1


def test_what_was_handed_out_stays_as_it_is(db, node):
    made = invoke(db, payload="1")
    run = node.run_of(made)
    assert edit(db, made, payload="2")
    assert node.take_changes(busy=[0]) == [(1, False, False)]
    assert node.run_of(made) == run and shown(db, made)[0] == "1" and node.changes() == []
    # What is known to run is refused.
    node.note([run])
    assert not edit(db, made, payload="2") and not move(db, made, "other") and node.changes() == []
    node.settle([run])
    assert not edit(db, made, payload="2")


def test_several_changes_of_one(db, node):
    made = invoke(db, payload="1")
    assert edit(db, made, payload="2") and edit(db, made, priority=3) and move(db, made, "other")
    assert node.take_changes() == [(1, True, False), (2, True, False), (3, True, False)]
    assert shown(db, made)[:3] == ("2", 3, "other") and len(node.ready()) == 1
    assert node.changes() == []


def test_a_change_of_what_is_another_run_by_now(db, node):
    made = invoke(db, payload="1")
    assert edit(db, made, payload="2")
    found = node.changes()
    db.execute("select pgconductor.cancel(%s)", (made,))
    db.execute("select pgconductor.retry(%s)", (made,))
    assert node.take_changes(found) == [(1, True, True)] and shown(db, made)[0] == "1"
    assert node.take_changes() == [(1, True, False)] and shown(db, made)[0] == "2"


def test_of_one_that_ended_or_waits_by_now(db, node):
    gone, late, moved = (invoke(db, payload="1") for _ in range(3))
    runs = [node.run_of(e) for e in (gone, late, moved)]
    assert all(edit(db, e, payload="2") for e in (gone, late, moved))
    found = node.changes()
    node.settle([runs[0]])
    node.settle([runs[1]], "failed", error="{}")
    target = one(db, "select id from pgconductor.shards where queue = 'other'")[0]
    node.call("select pgconductor.rehome_to(%s, %s::xid8[], %s)", [moved], [runs[2][1]], target)
    assert node.take_changes(found) == [(1, True, False), (2, True, False), (3, True, False)]
    # One that failed and is tried again later may still be changed.
    assert state(db, late)[0] == "delayed" and shown(db, late)[0] == "2"
    assert shown(db, moved)[0] == "1"
    assert [c[0] for c in node.changes()] == [target]
    node.take_changes()
    assert shown(db, moved)[0] == "2" and one(db, "select payload::text from pgconductor.finished_executions") == ("1",)


def test_what_others_have_locked_is_left(db, node, connect):
    made = invoke(db, payload="1")
    assert edit(db, made, payload="2")
    client = connect(autocommit=False)
    client.execute("select from pgconductor.executions where id = %s for update", (made,))
    assert node.take_changes() == [(1, False, True)] and len(node.changes()) == 1
    client.rollback()
    assert node.take_changes() == [(1, True, False)] and shown(db, made)[0] == "2"


def test_a_parked_one(db, node):
    made = [invoke(db, payload="1") for _ in range(3)]
    runs = [node.run_of(m) for m in made]
    node.call("select pgconductor.park(%s::bigint[], %s::xid8[], 'unserved')", made, [r[1] for r in runs])
    assert edit(db, made[0], payload="2", run_at="2000-01-01 00:00+00") and state(db, made[0]) == ("ready", "unserved")
    assert edit(db, made[1], run_at="2100-01-01 00:00+00") and state(db, made[1]) == ("delayed", None)
    # In another queue it may be served.
    assert move(db, made[2], "other") and state(db, made[2]) == ("ready", None) and node.run_of(made[2])


def test_a_suspended_one(db, node):
    made = invoke(db, payload="1", metadata='{"a": 1}')
    node.suspend((node.run_of(made), [{"key": "c", "task": "work"}]))
    child = one(db, "select id from pgconductor.executions where parent = %s", made)[0]
    message = refused(db, "PC009", "select pgconductor.edit(%s, run_at => now())", made)
    assert "suspended" in message
    assert edit(db, made, priority=4, metadata='{"a": 2}') and move(db, made, "other")
    assert state(db, made) == ("suspended", "c")
    node.settle([node.run_of(child)], result="7")
    # The wake follows it to its new shard.
    node.take_wakes()
    node.take_wakes()
    run = node.run_of(made)
    assert node.journal(run) == {"c": 7} and shown(db, made)[1:] == (4, "other", '{"a": 2}')


def test_time_that_comes_while_it_is_changed(db, node, connect):
    """Promoting looks again behind the lock. Fails when it goes by the time that it has found before."""
    made = invoke(db, delay="1 hour")
    # As one that waits for its next attempt.
    db.execute("update pgconductor.executions set run_at = now() - interval '1 s', ready_xid = null, waiting = null where id = %s", (made,))
    client = connect(autocommit=False)
    assert edit(client, made, run_at="2100-01-01 00:00+00")
    assert node.promote()[0] == 0
    client.commit()
    node.promote()
    assert state(db, made)[0] == "delayed"


def test_its_owner_may_have_read_what_is_due(db, node, connect):
    """Who changes a delayed one while its time comes has it to himself: it is not read as it was. Fails when poll_due does not see
    that it is touched."""
    made = invoke(db, payload="1", delay="300 ms")
    client = connect(autocommit=False)
    assert edit(client, made, payload="2")
    wait_for(lambda: [r[12] for rows in node.poll_due([(s, 0, "-infinity", 0, 9) for s in (1, 2, 3, 4)])[0] for r in rows] == [True], 10,
             "it is due")
    assert node.ready() == []
    client.commit()
    wait_for(lambda: node.promote()[0] == 1, 10, "it is ready")
    assert node.run_of(made) and shown(db, made)[0] == "2"


def test_due_when_the_lock_is_got(db, node, connect):
    """It was not due when the statement began that changes it, which had to wait: so its owner is asked. Fails when it goes by the
    time of the statement."""
    made = invoke(db, payload="1", delay="400 ms")
    holder, client = connect(autocommit=False), connect()
    holder.execute("select from pgconductor.executions where id = %s for update", (made,))
    asking = threading.Thread(target=edit, args=(client, made), kwargs={"payload": "2"})
    asking.start()
    wait_for(lambda: one(db, "select run_at < clock_timestamp() from pgconductor.executions where id = %s", made)[0], 10, "it is due")
    holder.rollback()
    asking.join()
    assert shown(db, made)[0] == "1" and len(node.changes()) == 1
    assert node.take_changes() == [(1, True, False)] and shown(db, made)[0] == "2"


def test_bad_arguments(db, node):
    made = invoke(db)
    assert "not JSON" in refused(db, "PC002", "select pgconductor.edit(%s, '{')", made)
    assert "priority" in refused(db, "PC009", "select pgconductor.edit(%s, priority => 40000)", made)
    assert "nothing" in refused(db, "PC009", "select pgconductor.edit(%s)", made)
    assert "infinite" in refused(db, "PC005", "select pgconductor.edit(%s, run_at => 'infinity')", made)
    assert "queue" in refused(db, "PC004", "select pgconductor.move(%s, 'Bad Name')", made)
    db.execute("update pgconductor.settings set value = '10' where name = 'max_payload'")
    refused(db, "PC003", "select pgconductor.edit(%s, '\"more than ten\"')", made)
    assert not edit(db, 123456789, payload="1") and not move(db, 123456789, "other")


def test_payloads_of_each_type(db, node):
    made = invoke(db, delay="1 hour")
    db.execute("select pgconductor.edit(%s, '[1.50]'::json)", (made,))
    assert shown(db, made)[0] == "[1.50]"
    db.execute("select pgconductor.edit(%s, jsonb_build_object('a', 1))", (made,))
    assert shown(db, made)[0] == '{"a": 1}'


def test_discard(db, node):
    failed, fine, again = (invoke(db) for _ in range(3))
    node.settle([node.run_of(failed), node.run_of(again)], "failed", error='{"code": "app"}', retry=False)
    node.settle([node.run_of(fine)])

    def discard(execution):
        return one(db, "select pgconductor.discard(%s)", execution)[0]
    assert [discard(e) for e in (failed, fine, again, 987654)] == [True, False, True, False]
    assert not discard(failed)
    assert one(db, "select state, discarded_at is not null from pgconductor.executions_all where id = %s", failed) == ("failed", True)
    # Run again it is like any other.
    db.execute("select pgconductor.retry(%s)", (again,))
    assert not discard(again)
    node.settle([node.run_of(again)], "failed", error="{}", retry=False)
    assert one(db, "select discarded_at from pgconductor.executions_all where id = %s", again) == (None,)
    assert discard(again)


# ---- metadata

def merged(db, inherited, own):
    return one(db, "select pgconductor.merge_metadata(%s, %s)::text", inherited, own)[0]


def test_merging(db):
    assert merged(db, None, None) is None
    assert merged(db, '{"a": 1}', None) == '{"a": 1}' and merged(db, None, "[1]") == "[1]"
    assert json.loads(merged(db, '{"a": 1, "b": 12.50}', '{"b": 2, "c": null}')) == {"a": 1, "b": 2, "c": None}
    assert "12.50" in merged(db, '{"a": 12.50}', '{"b": 2}')
    exact = merged(db, r'{"<0>": "\u0000 \\u0041 \" <1>2"}', r'{"\ud800": "<0>0"}')
    assert r'"\u0000 \\u0041 \" <1>2"' in exact and r'"\ud800"' in exact and exact.count("<0>") == 2
    # What is no object has no parts.
    assert merged(db, '"text"', '{"a": 1}') == '{"a": 1}' and merged(db, '{"a": 1}', "5") == "5"


def metadata_of(db, where):
    found = one(db, f"select metadata::text from pgconductor.executions where {where}")[0]
    return json.loads(found) if found else found


def test_children_and_what_is_started_inherit(db, node):
    made = invoke(db, metadata='{"tenant": "t1", "n": 1}')
    run = node.run_of(made)
    drafts = [r[0] for r in node.call("select id from pgconductor.draw_ids(3) id")]
    args = ['{"task": "work"}', '{"task": "work", "metadata": {"n": "\\u0000", "own": true}}', '{"task": "work", "metadata": null}']
    for draft, text in zip(drafts, args):
        assert node.call("select pgconductor.make_call(%s, %s, 'invoke', %s::json, %s, false)", made, run[1], text, draft) == [(str(draft),)]
    assert metadata_of(db, f"id = {drafts[0]}") == {"tenant": "t1", "n": 1}
    assert metadata_of(db, f"id = {drafts[1]}") == {"tenant": "t1", "n": "\0", "own": True}
    assert metadata_of(db, f"id = {drafts[2]}") == {"tenant": "t1", "n": 1}
    plain = invoke(db)
    node.suspend((run, [{"key": "a", "task": "work"}, {"key": "b", "task": "work"}]), (node.run_of(plain), [{"key": "c", "task": "work"}]))
    assert [metadata_of(db, f"parent_key = '{k}'") for k in "abc"] == [{"tenant": "t1", "n": 1}] * 2 + [None]


def test_what_an_event_starts_inherits(db, node):
    db.execute("select pgconductor.declare_triggers('code:x', 'work', '[{\"event\": \"e\"}, {\"invocable\": true}]')")
    node.call("select pgconductor.lock_dispatcher()")
    node.call("select pgconductor.take_dispatcher(%s)", node.id)
    made = invoke(db, metadata='{"tenant": "t1"}')
    draft = node.call("select id from pgconductor.draw_ids(1) id")[0][0]
    node.call("select pgconductor.make_call(%s, %s, 'emit', '{\"event\": \"e\", \"payload\": 1}', %s, false)", made, node.run_of(made)[1], draft)
    db.execute("select pgconductor.emit('e', '2'), pgconductor.emit('e', '3', '{\"by\": \"hand\"}')")
    node.dispatch_all()
    assert db.execute("select payload::text, metadata::text from pgconductor.executions where event = 'e' order by id").fetchall() == [
        ("1", '{"tenant": "t1"}'), ("2", None), ("3", '{"by": "hand"}')]


def test_choosing_by_metadata(db):
    def has(metadata, *pairs):
        return one(db, "select pgconductor.has_metadata(%s, %s::text[], %s::text[])", metadata, [p[0] for p in pairs], [p[1] for p in pairs])[0]
    given = r'{"a": "x", "n": 12.50, "b": true, "o": {"p": 1}, "z": "\u0000"}'
    assert has(given, ("a", "x"), ("n", "12.50"), ("b", "true"), ("o", '{"p": 1}'))
    assert not has(given, ("a", "x"), ("c", "x")) and not has(given, ("z", "x"))
    assert has(None) and not has(None, ("a", "x")) and not has("[1]", ("a", "x")) and not has('"a"', ("a", "a"))


def test_kinds_of_errors(db):
    def kind(error):
        return one(db, "select pgconductor.error_kind(%s)::text", error)[0]
    assert json.loads(kind('{"code": "app", "message": "no", "type": "E", "stack": "…", "data": 1}')) == {
        "code": "app", "type": "E", "message": "no"}
    assert json.loads(kind(r'{"message": "\u0000 \ud800"}')) == {"message": "\0 \ud800"}
    assert kind(None) is None and kind("[1]") == "[1]"
