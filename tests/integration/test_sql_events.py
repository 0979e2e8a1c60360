"""Events in SQL: emitting, subscriptions, conditions, the dispatcher, and waiting; with transactions held open in between."""

import json
import random
import threading

import psycopg
import pytest

from support.sqlnode import Node, invoke, one, owner_of, row_of
from support.wait import wait_for


@pytest.fixture
def owner(db, connect):
    return owner_of(db, connect, "work", "a", "b")


def subscribe(db, task, *triggers, program="code:app"):
    db.execute("select pgconductor.declare_triggers(%s, %s, %s)", (program, task, json.dumps(triggers)))


def emit(conn, event="e", payload="null"):
    return one(conn, "select pgconductor.emit(%s, %s::text)", event, payload)[0]


def started(db, task=None):
    """The payloads of what was made by events, in the order in which it was made."""
    return [r[0] for r in db.execute("select payload::text from pgconductor.executions where event is not null"
                                     " and task = coalesce(%s, task) order by id", (task,)).fetchall()]


def held(connect, *events):
    """A transaction that has emitted these and is open; as (event, payload)."""
    conn = connect(autocommit=False)
    for event, payload in events:
        emit(conn, event, payload)
    return conn


def wait(key="w", event="e", **options):
    return {"key": key, "event": event, **options}


def waiting(db, owner, *waits, some=False):
    """An execution that is suspended until these."""
    made = invoke(db)
    assert owner.suspend((owner.run_of(made), list(waits), some)) == []
    return made


def outcome(owner, execution):
    """What it has been told, after its owner has heard of it; None when it still waits."""
    owner.take_wakes()
    run = owner.run_of(execution)
    return owner.journal(run) if run else None


# ---- emitting

def test_an_event_starts_what_subscribes_to_it(db, owner):
    subscribe(db, "a", {"event": "order.paid"})
    subscribe(db, "b", {"event": "order.paid"}, {"event": "other"})
    made = emit(db, "order.paid", '{"x" : 12.50, "b":1, "a":"\\u0000"}')
    emit(db, "nobody", "1")
    assert owner.dispatch() == (2, 2, 0, False, "")
    rows = db.execute("select task, event, payload::text, event_at is not null, queue, ready_xid is not null"
                      " from pgconductor.executions order by id").fetchall()
    assert rows == [(t, "order.paid", '{"x" : 12.50, "b":1, "a":"\\u0000"}', True, "default", True) for t in ("a", "b")]
    assert one(db, "select event_at = (select created_at from pgconductor.events where id = %s) from pgconductor.executions"
                   " where task = 'a'", made) == (True,)
    assert owner.dispatch_all() == (0, 0, 0) and len(owner.ready()) == 2


def test_emit_takes_text_json_and_jsonb(db, owner):
    subscribe(db, "a", {"event": "e"})
    for call in ("emit('e', '[1,  2]')", "emit('e', '[1,  2]'::json)", "emit('e', '[1,  2]'::jsonb)", "emit('e')"):
        db.execute(f"select pgconductor.{call}")
    owner.dispatch_all()
    assert started(db) == ["[1,  2]", "[1,  2]", "[1, 2]", "null"]


def test_bad_events(db):
    for event, payload, code in (("", "1", "PC013"), ("a b", "1", "PC013"), (None, "1", "PC013"), ("x" * 201, "1", "PC013"),
                                 ("e", "{", "PC002"), ("e", '"' + "x" * 17000000 + '"', "PC003")):
        with pytest.raises(psycopg.Error) as e:
            emit(db, event, payload)
        assert e.value.sqlstate == code, (event, code)


def test_an_event_of_a_transaction_that_fails_never_was(db, owner, connect):
    subscribe(db, "a", {"event": "e"})
    conn = held(connect, ("e", "1"))
    owner.dispatch_all()
    conn.rollback()
    assert owner.dispatch_all() == (0, 0, 0) and started(db) == []


def test_emitting_when_no_node_has_been_there_for_weeks(db, owner):
    subscribe(db, "a", {"event": "e"})
    with db.transaction():
        db.execute("select set_config('pgconductor.fake_now', (now() + '40 days')::text, true)")
        emit(db, "e", "1")
    owner.dispatch_all()
    assert started(db) == ["1"]


def test_only_a_sleeping_dispatcher_is_notified(db, owner, connect):
    """Its node is; not that of the shard."""
    listener, sleeper = connect(), connect()
    db.execute("update pgconductor.dispatcher set node = 77")
    listener.execute("listen pgconductor_77")
    emit(db)
    db.execute("select pg_notify('pgconductor_77', 'asleep')")
    sleeper.execute("select pg_advisory_lock(1346847491, 77)")
    emit(db)
    told = listener.notifies()
    assert [next(told).payload, next(told).payload] == ["asleep", ""]


# ---- subscriptions

def test_fields(db, owner):
    subscribe(db, "a", {"event": "e", "fields": ["user.id", "total", "no.such", "list.x"]})
    subscribe(db, "b", {"event": "e", "fields": "user , nothing"})
    emit(db, "e", '{"total": 12.50, "user": {"id": 9007199254740993, "name": "\\u0000\\ud800"}, "list": [{"x":1}], "event": 7}')
    emit(db, "e", "[1]")
    owner.dispatch_all()
    assert started(db, "a") == ['{"total":12.50,"user":{"id":9007199254740993}}', "{}"]
    assert started(db, "b") == ['{"user":{"id": 9007199254740993, "name": "\\u0000\\ud800"}}', "{}"]


def test_conditions(db, owner):
    """Over event, its key, and payload; a member called event is just one."""
    subscribe(db, "a", {"event": "e", "when": "(payload->>'n')::int > 1 and event = 'e'"})
    subscribe(db, "b", {"event": "e", "when": "payload @> '{\"event\": 5}'"})
    for n in range(4):
        emit(db, "e", f'{{"n": {n}, "event": {n + 4}}}')
    owner.dispatch_all()
    assert started(db, "a") == ['{"n": 2, "event": 6}', '{"n": 3, "event": 7}']
    assert started(db, "b") == ['{"n": 1, "event": 5}']


def test_bad_conditions_are_refused(db, owner):
    for when, why in (
            ("payload ->", "syntax error"), ("nosuch = 1", "does not exist"), ("payload", "boolean"), ("true; select 1", "semicolon"),
            ("true) or (true", "parenthesis"), ("(select true)", "query"), ("exists (table pg_class)", "query"),
            ("true -- x", "comment"), ("count(*) > 1", "aggregate"), ("", "empty"), ("e'\\'' = 'x'", "escapes"), ("1 = $1", "dollar")):
        with pytest.raises(psycopg.Error, match=why) as e:
            subscribe(db, "a", {"event": "ok"}, {"event": "e", "when": when})
        assert e.value.sqlstate == "PC012" and "triggers[1]" in str(e.value)
        # A wait says so as its outcome.
        made = waiting(db, owner, wait(filter=when))
        assert owner.journal(owner.run_of(made)) == {"w": {"error": "bad_filter"}}


def test_bad_triggers_are_refused(db, owner):
    for trigger in ({"event": 7}, {"event": ""}, {"event": "e", "when": 1}, {"event": "e", "fields": 7},
                    {"event": "e", "fields": "a,,b"}, {"event": "e", "filter": "true"}):
        with pytest.raises(psycopg.Error) as e:
            subscribe(db, "a", trigger)
        assert e.value.sqlstate == "PC012", trigger


def test_conditions_can_read_nothing(db, owner):
    """Also what got past the check: the role has no right to anything."""
    db.execute("create table public.secret as select 1 as x")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute("select pgconductor.evaluate_filter('exists (select from public.secret)', array['e'], array['1'::jsonb])")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute("select pgconductor.evaluate_filter('pgconductor.invoke(''a'') > 0', array['e'], array['1'::jsonb])")
    assert one(db, "select array_agg(privilege_type::text) from information_schema.role_routine_grants"
                   " where grantee = 'pgconductor_filter' and routine_name <> 'evaluate_filter' and routine_schema = 'pgconductor'") == (None,)


def test_a_condition_that_raises_is_false_and_reported(db, owner):
    """For the event that it cannot be asked about, and no other."""
    subscribe(db, "a", {"event": "e", "when": "(payload->>'n')::int > 0"})
    subscribe(db, "b", {"event": "e"})
    waits = waiting(db, owner, wait(filter="(payload->>'n')::int = 2"))
    for n in ("1", '"x"', "2", '"\\u0000"'):
        emit(db, "e", f'{{"n": {n}}}')
    with pytest.raises(psycopg.errors.DataError):
        owner.dispatch()
    assert started(db) == []
    events, made, woken, more, complaints = owner.dispatch(careful=True)
    assert (events, made, woken, more) == (4, 6, 1, False)
    assert "task a: trigger of event e: when: " in complaints and f"execution {waits}: waiting for event e: " in complaints
    assert started(db, "a") == ['{"n": 1}', '{"n": 2}'] and len(started(db, "b")) == 4
    assert outcome(owner, waits) == {"w": {"n": 2}}


def test_a_condition_that_does_not_end(db, owner):
    """It is not asked again; nothing of the batch is lost or done twice."""
    subscribe(db, "a", {"event": "e", "when": "pg_sleep(3600) is null"}, {"event": "e"})
    made = waiting(db, owner, wait(filter="pg_sleep(3600) is null"))
    emit(db, "e", "1")
    owner.writer.execute("set statement_timeout = '1s'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        owner.dispatch()
    for _ in range(2):
        assert owner.dispatch(careful=True)[0::3] == (0, True)
    assert owner.dispatch(careful=True)[:2] == (1, 1)
    assert started(db) == ["1"] and outcome(owner, made) == {"w": {"error": "bad_filter"}}
    assert one(db, "select broken from pgconductor.subscriptions where \"when\" is not null") == ("it takes too long",)
    # Said anew, it gets another chance.
    subscribe(db, "a", {"event": "e", "when": "pg_sleep(3600) is null"}, {"event": "e"})
    assert one(db, "select count(*) from pgconductor.subscriptions where broken is not null") == (0,)


def test_what_is_declared_anew_takes_the_place_of_what_was(db, owner):
    """Of that program alone; what stays is not touched, and what changes misses nothing."""
    subscribe(db, "a", {"event": "e"}, {"event": "f"})
    subscribe(db, "a", {"event": "g"}, program="code:other")
    before = db.execute("select id from pgconductor.subscriptions where key = 'e'").fetchall()
    emit(db, "f", '{"n": 1}')
    subscribe(db, "a", {"event": "e"}, {"event": "f", "when": "true"}, {"event": "e"})
    assert db.execute("select id from pgconductor.subscriptions where key = 'e'").fetchall() == before
    owner.dispatch_all()
    assert started(db) == ['{"n": 1}']
    subscribe(db, "a")
    assert db.execute("select key from pgconductor.subscriptions").fetchall() == [("g",)]


def test_two_nodes_declare_at_the_same_time(db, owner, connect):
    first = connect(autocommit=False)
    subscribe(first, "a", {"event": "e"})
    other = threading.Thread(target=lambda: subscribe(connect(), "a", {"event": "e"}))
    other.start()
    other.join(0.2)
    first.commit()
    other.join(10)
    assert one(db, "select count(*) from pgconductor.subscriptions") == (1,)


def test_what_was_before_the_subscription_is_not_for_it(db, owner, connect):
    emit(db, "e", "1")
    open_one = held(connect, ("e", "2"))
    subscribe(db, "a", {"event": "e"})
    emit(db, "e", "3")
    open_one.commit()
    owner.dispatch_all()
    assert started(db) == ["2", "3"]


def test_a_thousand_subscriptions(db, owner, connect):
    db.execute("select pgconductor.declare_task('t' || n) from generate_series(1, 1000) n")
    db.execute("select pgconductor.declare_triggers('code:app', 't' || n, '[{\"event\": \"e\"}]') from generate_series(1, 1000) n")
    for n in range(20):
        emit(db, "e", str(n))
    # As many as can be made at once.
    assert owner.dispatch() == (10, 10000, 0, True, "")
    owner.dispatch_all()
    rows = db.execute("select task, array_agg(payload::text::int order by id) from pgconductor.executions group by 1").fetchall()
    assert len(rows) == 1000 and all(payloads == list(range(20)) for _, payloads in rows)


# ---- the dispatcher: what is committed late, limits, orders, others

def test_the_late_list_survives_the_dispatcher(db, owner, connect):
    """An event of a transaction that was open when later ones were dispatched, by a node that is no more."""
    subscribe(db, "a", {"event": "e"})
    late = held(connect, ("e", "1"))
    emit(db, "e", "2")
    assert owner.dispatch_all() == (1, 1, 0)
    owner.die()
    other = Node(connect, pid=2)
    assert other.dispatch_all() == (0, 0, 0)
    late.commit()
    assert other.dispatch_all() == (1, 1, 0)
    assert started(db) == ["2", "1"]


def test_what_was_committed_before_is_done_before(db, owner, connect):
    """Though its transaction began later."""
    subscribe(db, "a", {"event": "e"})
    first = connect(autocommit=False)
    first.execute("select pg_current_xact_id()")
    emit(db, "e", "1")
    emit(first, "e", "2")
    first.commit()
    # Also across batches.
    assert owner.dispatch(limit=1)[:2] == (1, 1)
    owner.dispatch_all()
    assert started(db) == ["1", "2"]


def test_many_late_ones_under_a_small_limit(db, owner, connect):
    """And what is committed while they are being done."""
    subscribe(db, "a", {"event": "e"})
    first = held(connect, *[("e", str(n)) for n in range(5)])
    second = held(connect, *[("e", str(n)) for n in range(5, 10)])
    third = held(connect, *[("e", str(n)) for n in range(10, 15)])
    emit(db, "e", "15")
    assert owner.dispatch_all(2) == (1, 1, 0)
    second.commit()
    emit(db, "e", "16")
    assert owner.dispatch(2)[:2] == (2, 2)
    first.commit()
    third.commit()
    owner.dispatch_all(2)
    assert sorted(map(int, started(db))) == list(range(17))
    assert [int(p) for p in started(db)][:3] == [15, 5, 6]
    assert [p for p in started(db) if int(p) < 5] == [str(n) for n in range(5)]


def test_a_late_one_beyond_the_snapshot(db, owner, connect):
    """The end of a snapshot is behind the last transaction that has ended: one beyond it may have emitted before."""
    subscribe(db, "a", {"event": "e"})
    first, second = connect(autocommit=False), connect(autocommit=False)
    first.execute("select pg_current_xact_id()")
    emit(second, "e", "1")
    emit(first, "e", "2")
    first.commit()
    assert owner.dispatch_all() == (1, 1, 0)
    assert one(db, "select pg_snapshot_xmax(seen) <= %s::text::xid8 from pgconductor.dispatched",
               one(second, "select pg_current_xact_id()")[0]) == (True,)
    second.commit()
    assert owner.dispatch_all() == (1, 1, 0) and started(db) == ["2", "1"]


def test_what_is_committed_during_a_dispatch(db, owner):
    """Behind its snapshot, and before it reads: done once, the next time."""
    subscribe(db, "a", {"event": "e"})
    made = invoke(db)
    emit(db, "f")
    owner.dispatch_all()
    owner.suspend((owner.run_of(made), [wait(event="f", since="start", filter="pg_advisory_xact_lock_shared(7, 7)::text = ''")]))
    owner.writer.execute("set lock_timeout = 0")
    db.execute("select pg_advisory_lock(7, 7)")
    results = []
    thread = threading.Thread(target=lambda: results.append(owner.dispatch()))
    thread.start()
    wait_for(lambda: one(db, "select count(*) from pg_locks where classid = 7 and not granted")[0] == 1, 10, "it is at the condition")
    emit(db, "e", "1")
    db.execute("select pg_advisory_unlock(7, 7)")
    thread.join(10)
    assert results == [(0, 0, 1, False, "")]
    owner.dispatch_all()
    assert started(db) == ["1"]


def test_two_dispatchers_at_once(db, owner, connect):
    """A node that does not know yet that it is none any more."""
    subscribe(db, "a", {"event": "e"})
    other = Node(connect, pid=2)
    other.writer.execute("set lock_timeout = 0")
    emit(db, "e", "1")
    with owner.writer.transaction():
        assert owner.dispatch()[0] == 1
        results = []
        thread = threading.Thread(target=lambda: results.append(other.dispatch()))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(10)
    assert results == [(0, 0, 0, False, "")] and started(db) == ["1"]


def test_a_dispatch_that_fails_is_done_again(db, owner):
    subscribe(db, "a", {"event": "e"})
    made = waiting(db, owner, wait())
    emit(db, "e", "1")
    with pytest.raises(ZeroDivisionError), owner.writer.transaction():
        assert owner.dispatch()[:3] == (1, 1, 1)
        raise ZeroDivisionError
    assert started(db) == [] and owner.dispatch_all() == (1, 1, 1)
    assert outcome(owner, made) == {"w": 1}


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_random_writers(db, owner, connect, seed, scale, limit):
    """Transactions of all lengths, some of which fail; each event that was committed starts one execution, and none comes before
    what its emitter knew to be committed. Executions that wait meanwhile wait for what was not committed when they began."""
    dice = random.Random(seed)
    subscribe(db, "a", {"event": "e"})
    open_ones, committed, knew, waits = [], [], {}, []
    for n in range(scale(150, 3000)):
        what = dice.random()
        if what < 0.35 or not open_ones:
            open_ones.append((connect(autocommit=False) if len(open_ones) < 12 else open_ones.pop(0)[0], []))
            open_ones[-1][0].rollback()
        if what < 0.7:
            conn, own = dice.choice(open_ones)
            knew[n] = len(committed)
            emit(conn, "e", str(n))
            own.append(n)
        elif what < 0.85:
            conn, own = open_ones.pop(dice.randrange(len(open_ones)))
            if dice.random() < 0.8:
                conn.commit()
                committed += own
            conn.close()
        elif what < 0.9:
            waits.append((waiting(db, owner, wait()), len(committed)))
        else:
            owner.dispatch(limit)
    for conn, own in open_ones:
        conn.commit()
        committed += own
        conn.close()
    owner.dispatch_all(limit)
    order = [int(p) for p in started(db)]
    assert sorted(order) == sorted(committed)
    place = {n: i for i, n in enumerate(order)}
    assert all(place[before] < place[n] for n in order for before in committed[:knew[n]])
    owner.take_wakes()
    for made, known in waits:
        told = owner.journal(owner.run_of(made))["w"] if owner.run_of(made) else None
        assert (told in committed[known:]) if len(committed) > known else told is None
    assert one(db, "select count(*) from pgconductor.event_waits")[0] == sum(len(committed) == known for _, known in waits)


def test_nothing_is_due_at_rest(db, owner, connect):
    """A transaction that stays open makes nobody dispatch."""
    subscribe(db, "a", {"event": "e"})
    open_one = held(connect, ("e", "1"))
    emit(db)
    owner.dispatch_all()
    assert one(db, "select pgconductor.events_due()") == (False,)
    open_one.commit()
    assert one(db, "select pgconductor.events_due()") == (True,)


def test_the_role(db, owner, connect):
    other = Node(connect, pid=2)
    assert owner.call("select pgconductor.take_dispatcher(%s)", owner.id) == [(False,)]
    assert owner.call("select pgconductor.lock_dispatcher()") == [(True,)]
    assert owner.call("select pgconductor.take_dispatcher(%s)", owner.id) == [(True,)]
    assert other.call("select pgconductor.lock_dispatcher()") == [(False,)]
    assert one(db, "select node from pgconductor.dispatcher") == (owner.id,)
    owner.die()
    db.execute("select 1")
    other.writer.execute("set lock_timeout = '5s'")
    other.call("select pg_advisory_lock(1346847493, 0)")
    assert other.call("select pgconductor.take_dispatcher(%s)", other.id) == [(True,)]
    assert one(db, "select node from pgconductor.dispatcher") == (other.id,)


def test_a_restored_dump(db, owner, connect):
    """Its transactions have the numbers of another cluster: what was done there is not done again, all else is."""
    subscribe(db, "a", {"event": "e"})
    owner.call("select pgconductor.lock_dispatcher()")
    owner.call("select pgconductor.take_dispatcher(%s)", owner.id)
    late = held(connect, ("e", "2"))
    emit(db, "e", "1")
    made = waiting(db, owner, wait(event="f"))
    owner.dispatch_all()
    late.commit()
    emit(db, "e", "3")
    # As if all that had happened far in the future of this cluster.
    db.execute("update pgconductor.events set xid = (xid::text::bigint + 1000000000)::text::xid8")
    db.execute("update pgconductor.event_waits set xid = (xid::text::bigint + 1000000000)::text::xid8")
    for table, column in (("dispatched", "seen"), ("dispatched", "waits_seen"), ("subscriptions", "seen"), ("steps", "seen")):
        rows = db.execute(f"select ctid::text, {column}::text from pgconductor.{table} where {column} is not null").fetchall()
        for ctid, text in rows:
            head = [str(int(x) + 1000000000) for x in text.split(":")[:2]]
            more = ",".join(str(int(x) + 1000000000) for x in text.split(":")[2].split(",") if x)
            db.execute(f"update pgconductor.{table} set {column} = %s where ctid = %s::tid", (":".join([*head, more]), ctid))
    db.execute("update pgconductor.dispatcher set system_id = 1")
    emit(db, "e", "4")
    emit(db, "f", "5")
    assert owner.call("select pgconductor.take_dispatcher(%s)", owner.id) == [(True,)]
    owner.dispatch_all()
    assert started(db) == ["1", "2", "3", "4"]
    assert outcome(owner, made) == {"w": 5}


# ---- waiting

def test_waiting_for_an_event(db, owner):
    made = waiting(db, owner, wait(event="order.paid"))
    assert one(db, "select state, waiting from pgconductor.executions_all where id = %s", made) == ("suspended", "w")
    emit(db, "other", "1")
    owner.dispatch_all()
    assert outcome(owner, made) is None
    emit(db, "order.paid", '{"x" : "\\u0000", "n": 1.50}')
    emit(db, "order.paid", "2")
    assert owner.dispatch_all() == (2, 0, 1)
    assert len(owner.wakes()) == 1
    owner.take_wakes()
    run = owner.run_of(made)
    assert [s[2:4] for s in owner.steps(run)] == [("w", '{"x" : "\\u0000", "n": 1.50}')] and run[2] == 0
    assert one(db, "select count(*) from pgconductor.event_waits") == (0,)


def test_what_was_committed_before_the_wait_does_not_end_it(db, owner):
    """Whether it was dispatched before or not."""
    emit(db, "e", "1")
    owner.dispatch_all()
    emit(db, "e", "2")
    made = waiting(db, owner, wait())
    owner.dispatch_all()
    assert outcome(owner, made) is None
    emit(db, "e", "3")
    owner.dispatch_all()
    assert outcome(owner, made) == {"w": 3}


def test_an_event_that_was_open_during_the_suspend(db, owner, connect):
    """The first race: emitted before the wait began, committed afterwards."""
    open_one = held(connect, ("e", "1"))
    made = waiting(db, owner, wait())
    owner.dispatch_all()
    open_one.commit()
    owner.dispatch_all()
    assert outcome(owner, made) == {"w": 1}


def test_an_event_that_is_dispatched_during_the_suspend(db, owner, connect):
    """The second race: nobody could see the wait when the event was dispatched."""
    other = Node(connect, pid=2)
    made = invoke(db)
    run = owner.run_of(made)
    with owner.writer.transaction():
        owner.suspend((run, [wait(), wait("f", filter="payload = '2'")]))
        emit(db, "e", "1")
        emit(db, "e", "2")
        assert other.dispatch_all() == (2, 0, 0)
    assert other.dispatch_all() == (0, 0, 2)
    assert outcome(owner, made) == {"w": 1, "f": 2}


def test_a_wait_that_was_committed_late(db, owner, connect):
    """Behind others that were read: waits have a late list of their own."""
    other = Node(connect, pid=2)
    first = invoke(db)
    run = owner.run_of(first)
    with owner.writer.transaction():
        owner.suspend((run, [wait()]))
        db.execute("insert into pgconductor.event_waits (execution, wait, key, event) values (0, 0, 'x', 'x')")
        emit(db, "e", "1")
        other.dispatch_all()
    other.dispatch_all()
    assert outcome(owner, first) == {"w": 1}


def test_a_late_wait_beyond_the_snapshot(db, owner, connect):
    """See test_a_late_one_beyond_the_snapshot."""
    other, first = Node(connect, pid=2), connect(autocommit=False)
    made = invoke(db)
    run = owner.run_of(made)
    first.execute("select pg_current_xact_id()")
    with owner.writer.transaction():
        owner.suspend((run, [wait()]))
        first.execute("insert into pgconductor.event_waits (execution, wait, key, event) values (0, 0, 'x', 'x')")
        emit(first, "e", "1")
        first.commit()
        assert other.dispatch_all() == (1, 0, 0)
    assert other.dispatch_all() == (0, 0, 1)
    assert outcome(owner, made) == {"w": 1}


def test_since_start(db, owner):
    """What was emitted since it was invoked; then what follows the one it got; never one twice."""
    emit(db, "e", "0")
    made = invoke(db)
    for n in (1, 2, 3):
        emit(db, "e", str(n))
    owner.dispatch_all()
    emit(db, "e", "4")
    for n in (1, 2, 3, 4):
        owner.suspend((owner.run_of(made), [wait(f"w{n}", since="start")]))
        owner.dispatch_all()
        assert outcome(owner, made)[f"w{n}"] == n
    owner.suspend((owner.run_of(made), [wait("w5", since="start")]))
    owner.dispatch_all()
    assert outcome(owner, made) is None
    emit(db, "e", "5")
    owner.dispatch_all()
    assert outcome(owner, made)["w5"] == 5


def test_since_start_with_a_condition(db, owner, connect):
    """Through more events than are looked at together, also late ones."""
    made = invoke(db)
    late = held(connect, ("e", '{"n": 250}'))
    db.execute("select pgconductor.emit('e', jsonb_build_object('n', n)) from generate_series(0, 249) n")
    owner.dispatch_all()
    owner.suspend((owner.run_of(made), [wait(since="start", filter="(payload->>'n')::int >= 240"), wait("x", since="start", filter="payload->>'n' = '250'")]))
    owner.dispatch_all()
    owner.take_wakes()
    assert owner.run_of(made) is None
    late.commit()
    owner.dispatch_all()
    assert outcome(owner, made) == {"w": {"n": 240}, "x": {"n": 250}}


def test_all_and_any_of_several(db, owner):
    every = waiting(db, owner, wait("a", "e"), wait("b", "f"))
    some = waiting(db, owner, wait("a", "e"), wait("b", "f"), some=True)
    emit(db, "f", "1")
    owner.dispatch_all()
    assert outcome(owner, every) is None and outcome(owner, some) == {"b": 1}
    emit(db, "e", "2")
    owner.dispatch_all()
    assert outcome(owner, every) == {"a": 2, "b": 1}


def test_with_a_timer_and_a_child(db, owner):
    made = waiting(db, owner, wait("a", "e"), {"key": "t", "timer_ms": 3600000}, {"key": "c", "task": "a"}, some=True)
    emit(db, "e", "2")
    owner.dispatch_all()
    assert outcome(owner, made) == {"a": 2}


def test_a_wait_that_takes_too_long(db, owner):
    made = waiting(db, owner, wait(timeout_ms=1), wait("x", "never", timeout_ms=1))
    while owner.run_of(made) is None:
        owner.promote()
    run = owner.run_of(made)
    assert owner.journal(run) == {"w": {"error": "timeout"}, "x": {"error": "timeout"}}
    # One that comes now is for nobody, and its wait is forgotten; the other one goes when somebody sweeps.
    emit(db, "e", "1")
    assert owner.dispatch_all() == (1, 0, 0) and owner.wakes() == []
    assert db.execute("select event from pgconductor.event_waits").fetchall() == [("never",)]
    db.execute("select pgconductor.sweep(1000)")
    assert one(db, "select count(*) from pgconductor.event_waits") == (0,)


def test_an_event_that_comes_as_the_time_is_over(db, owner):
    """Its wake finds no wait any more; waiting once more since the start finds the event."""
    made = waiting(db, owner, wait(timeout_ms=1))
    emit(db, "e", "1")
    owner.dispatch_all()
    while owner.run_of(made) is None:
        owner.promote()
    assert outcome(owner, made) == {"w": {"error": "timeout"}}
    owner.suspend((owner.run_of(made), [wait("again", since="start")]))
    owner.dispatch_all()
    assert outcome(owner, made)["again"] == 1


def test_a_cancelled_one_does_not_wait(db, owner):
    made = waiting(db, owner, wait())
    db.execute("select pgconductor.cancel(%s)", (made,))
    emit(db)
    assert owner.dispatch_all() == (1, 0, 0)
    assert one(db, "select count(*) from pgconductor.event_waits") == (0,)
    # Run again, it waits anew.
    db.execute("select pgconductor.retry(%s)", (made,))
    owner.suspend((owner.run_of(made), [wait()]))
    emit(db, "e", "2")
    owner.dispatch_all()
    assert outcome(owner, made) == {"w": 2}


def test_a_thousand_executions_wait(db, owner, connect):
    runs = [(invoke(db)) for _ in range(1000)]
    ready = {r[0]: r for r in owner.ready()}
    owner.suspend(*[(ready[i], [wait()]) for i in runs])
    open_one = held(connect, ("e", "1"))
    owner.dispatch_all(100)
    open_one.commit()
    owner.dispatch_all(100)
    assert one(db, "select count(*) from pgconductor.event_waits") == (0,)
    assert owner.take_wakes() == []
    assert sorted(r[0] for r in owner.ready()) == sorted(runs)
    assert owner.journal(owner.ready()[-1]) == {"w": 1}


def test_the_wait_of_one_that_was_moved(db, owner):
    """The wake goes to where it is."""
    made = waiting(db, owner, wait())
    emit(db, "e", "1")
    owner.dispatch_all()
    (wake,) = owner.wakes()
    assert wake[0] == row_of(db, made)["shard"]


# ---- what handlers ask for, what is kept, who may

def call(owner, run, name, args, draft, again=False):
    return owner.call("select pgconductor.make_call(%s, %s::xid8, %s, %s::json, %s, %s)", run[0], run[1], name, args, draft, again)[0][0]


def test_a_handler_emits_once(db, owner, connect):
    """Also when it is not known whether that was committed."""
    subscribe(db, "a", {"event": "e"})
    run = owner.run_of(invoke(db))
    args = '{"event": "e", "payload": {"x" : "\\u0000"}}'
    made = call(owner, run, "emit", args, 5001)
    assert call(owner, run, "emit", args, 5001, again=True) == made
    other = Node(connect, pid=2)
    other.writer.execute("set lock_timeout = 0")
    results = []
    with owner.writer.transaction():
        made = call(owner, run, "emit", args, 5002)
        thread = threading.Thread(target=lambda: results.append(call(other, run, "emit", args, 5002, again=True)))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(10)
    assert results == [made]
    assert call(owner, run, "emit", args, 5003, again=True) not in (None, made)
    owner.dispatch_all()
    assert started(db) == ['{"x" : "\\u0000"}'] * 3
    for bad, code in (('{"event": "a b"}', "PC013"), ('{"name": "e"}', "PC009")):
        with pytest.raises(psycopg.Error) as e:
            call(owner, run, "emit", bad, 5004)
        assert e.value.sqlstate == code


def test_old_events_go_when_they_have_been_dispatched(db, owner):
    """A day at a time."""
    def age(days):
        db.execute("select set_config('pgconductor.fake_now', (now() - %s * interval '1 day')::text, false)", (days,))
    age(20)
    emit(db)
    age(0)

    def upkeep():
        with psycopg.connect(db.info.dsn, autocommit=True) as conn:
            for (statement,) in conn.execute("select pgconductor.upkeep()").fetchall():
                conn.execute(statement)
    upkeep()
    assert one(db, "select count(*) from pgconductor.events") == (1,)
    owner.dispatch_all()
    upkeep()
    assert one(db, "select count(*) from pgconductor.events") == (0,)


def test_a_client_may_emit(db, dsn):
    db.execute("do $$ begin create role sql_client login in role pgconductor_client; exception when duplicate_object then null; end $$")
    with psycopg.connect(dsn, user="sql_client", autocommit=True) as client:
        assert emit(client) > 0
        for statement in ("select * from pgconductor.events", "select pgconductor.dispatch(1, 1, false)",
                          "select pgconductor.evaluate_filter('true', '{}', '{}')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                client.execute(statement)
