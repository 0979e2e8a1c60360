"""declare_task: names, options, and whose word counts."""

import datetime
import json

import psycopg
import pytest

from support.sqlnode import declare, one


def declare_as(db, source, task="work", queue=None, **options):
    db.execute("select pgconductor.declare_task(%s, %s, %s::json, %s)", (task, queue, json.dumps(options), source))


def task(db, name="work"):
    return json.loads(one(db, "select to_json(t)::text from pgconductor.tasks t where name = %s", name)[0])


def values(db, name="work"):
    return {o: (v, s) for o, v, s in db.execute(
        "select option, value, source from pgconductor.task_options() where task = %s", (name,)).fetchall()}


def days(db, column):
    return one(db, f"select {column} from pgconductor.tasks")[0]


def test_defaults(db):
    db.execute("select pgconductor.declare_task('work')")
    t = task(db)
    assert (t["queue"], t["max_attempts"], t["backoff_ms"], t["backoff_factor"], t["timeout_ms"]) == (
        "default", 3, [15000, 30000, 60000], None, None)
    assert (days(db, "keep_complete"), days(db, "keep_fail")) == (datetime.timedelta(days=7), datetime.timedelta(days=30))
    assert {s for _, s in values(db).values()} == {"default"}
    assert one(db, "select array_agg(lane) from pgconductor.lanes") == ([0, 0, 0, 0],)


@pytest.mark.parametrize("option,given,column,stored", [
    ("max_attempts", 1, "max_attempts", 1),
    ("backoff", "5s", "backoff_ms", [5000]),
    ("backoff", 250, "backoff_ms", [250]),
    ("backoff", ["250ms", "1m", "1.5h", "2d", 0], "backoff_ms", [250, 60000, 5400000, 172800000, 0]),
    ("timeout", "2m", "timeout_ms", 120000),
    ("remove_on_complete", False, "keep_complete", None),
    ("remove_on_complete", "0", "keep_complete", "00:00:00"),
    ("remove_on_complete", 0, "keep_complete", "00:00:00"),
    ("remove_on_complete", True, "keep_complete", "00:00:00"),
    ("remove_on_fail", {"days": 2}, "keep_fail", "48:00:00"),
    ("remove_on_fail", "1h", "keep_fail", "01:00:00"),
])
def test_options(db, option, given, column, stored):
    declare(db, **{option: given})
    assert task(db)[column] == stored


def test_exponential_backoff(db):
    declare(db, backoff={"initial": "1s"})
    t = task(db)
    assert (t["backoff_ms"], t["backoff_factor"], t["backoff_max_ms"]) == ([1000], 2, 86400000)
    declare(db, backoff={"initial": "1s", "factor": 1.5, "max": "1h"})
    t = task(db)
    assert (t["backoff_ms"], t["backoff_factor"], t["backoff_max_ms"]) == ([1000], 1.5, 3600000)


def test_waits(db):
    def wait(attempt, waits="{1000,2000,5000}", factor=None, most=None):
        got = {one(db, "select pgconductor.backoff(%s::bigint[], %s, %s, %s)", waits, factor, most, attempt)[0] for _ in range(50)}
        mean = sum(got) / len(got)
        assert len(got) > 10
        return min(got), mean, max(got)
    for attempt, about in ((1, 1000), (2, 2000), (3, 5000), (4, 5000), (1000, 5000)):
        low, mean, high = wait(attempt)
        assert about * 0.9 <= low <= high <= about * 1.1 and abs(mean - about) < about * 0.06
    for attempt, about in ((1, 1000), (2, 3000), (3, 9000), (8, 60000), (30000, 60000)):
        low, mean, high = wait(attempt, "{1000}", 3.0, 60000)
        assert about * 0.9 <= low <= high <= about * 1.1


@pytest.mark.parametrize("options,code,reason", [
    ('[]', "PC008", "options: not a JSON object"),
    ('{"max_atempts":3}', "PC008", "options: max_atempts: no such option"),
    ('{"triggers":[]}', "PC006", "options: triggers: not available in this version"),
    ('{"concurrency":0}', "PC008", "options: concurrency: not a whole number from 1 on"),
    ('{"concurrency":"3"}', "PC008", "options: concurrency: not a whole number from 1 on"),
    ('{"window":"09:00"}', "PC008", "options: window: one is"),
    ('{"window":["9:00","17:00"]}', "PC008", "options: window: one is"),
    ('{"window":["09:00"]}', "PC008", "options: window: one is"),
    ('{"window":["24:00","17:00"]}', "PC008", "options: window: one is"),
    ('{"timezone":"Mars/Olympus"}', "PC008", "options: timezone: not a time zone"),
    ('{"timezone":7}', "PC008", "options: timezone: not a time zone"),
    ('{"days":[]}', "PC008", "options: days: a list of mon"),
    ('{"days":["Monday"]}', "PC008", "options: days: a list of mon"),
    ('{"rate_limit":3}', "PC008", "options: rate_limit: one is"),
    ('{"rate_limit":{"period":"1s"}}', "PC008", "options: rate_limit: one is"),
    ('{"rate_limit":{"limit":0}}', "PC008", "options: rate_limit: one is"),
    ('{"rate_limit":{"limit":1,"period":"0s"}}', "PC008", "options: rate_limit: one is"),
    ('{"rate_limit":{"limit":1,"burst":0}}', "PC008", "options: rate_limit: one is"),
    ('{"rate_limit":{"limit":1,"bust":1}}', "PC008", "options: rate_limit: one is"),
    ('{"max_attempts":0}', "PC008", "options: max_attempts: not a whole number from 1 on"),
    ('{"max_attempts":"3"}', "PC008", "options: max_attempts: not a whole number from 1 on"),
    ('{"max_attempts":1.5}', "PC008", "options: max_attempts: not a whole number from 1 on"),
    ('{"timeout":"0"}', "PC008", 'options: timeout: not a duration above 0, such as "30s" or "5m"'),
    ('{"timeout":"5 minutes"}', "PC008", 'options: timeout: not a duration above 0, such as "30s" or "5m"'),
    ('{"timeout":-5}', "PC008", 'options: timeout: not a duration above 0, such as "30s" or "5m"'),
    ('{"timeout":1e400}', "PC008", 'options: timeout: not a duration above 0, such as "30s" or "5m"'),
    ('{"backoff":[]}', "PC008", "options: backoff: a list of 1 to 1000 durations is needed"),
    ('{"backoff":["1s","x"]}', "PC008", 'options: backoff: not a duration: "x"'),
    ('{"backoff":{"initial":"x"}}', "PC008", "options: backoff: an exponential one"),
    ('{"backoff":{"initial":"1s","factor":0.5}}', "PC008", "options: backoff: an exponential one"),
    ('{"backoff":{"initial":"1s","factor":"x"}}', "PC008", "options: backoff: an exponential one"),
    ('{"backoff":true}', "PC008", "options: backoff: neither"),
    ('{"remove_on_complete":"soon"}', "PC008", "options: remove_on_complete: neither"),
    ('{"remove_on_complete":{"days":"x"}}', "PC008", "options: remove_on_complete: neither"),
    ('{"remove_on_fail":{"hours":1}}', "PC008", "options: remove_on_fail: neither"),
    ('{"a\\u0000b":1}', "PC008", "options: "),
])
def test_bad_options_are_named(db, options, code, reason):
    with pytest.raises(psycopg.Error) as caught:
        db.execute("select pgconductor.declare_task('work', options => %s)", (options,))
    assert caught.value.sqlstate == code, caught.value
    assert caught.value.diag.message_primary.startswith("pgconductor.declare_task: " + reason)
    assert one(db, "select count(*) from pgconductor.tasks") == (0,)


@pytest.mark.parametrize("arguments,code", [
    ("''", "PC008"), ("null", "PC008"), ("'a b'", "PC008"), ("'a/b'", "PC008"), ("'-a'", "PC008"), (f"'{'a' * 129}'", "PC008"),
    ("'a', 'Q'", "PC004"), ("'a', ''", "PC004"), ("'a', '.q'", "PC004"), (f"'a', '{'q' * 64}'", "PC004"),
    ("'a', source => 'other'", "PC009"), ("'a', source => null", "PC009"), ("'a', source => 'code:'", "PC009")])
def test_bad_names(db, arguments, code):
    with pytest.raises(psycopg.Error) as caught:
        db.execute(f"select pgconductor.declare_task({arguments})")
    assert caught.value.sqlstate == code


@pytest.mark.parametrize("opens, closes, days, zone, at, open_, until", [
    ("09:00", "17:00", None, "UTC", "2026-03-04 08:59:59Z", False, "2026-03-04 09:00Z"),
    ("09:00", "17:00", None, "UTC", "2026-03-04 09:00Z", True, "2026-03-04 17:00Z"),
    ("09:00", "17:00", None, "UTC", "2026-03-04 17:00Z", False, "2026-03-05 09:00Z"),
    ("09:00", "24:00", None, "UTC", "2026-03-04 23:59Z", True, "2026-03-05 00:00Z"),
    # Across midnight it is of the day on which it opens: of a Friday's, the hours of Saturday too.
    ("22:00", "06:00", [5], "UTC", "2026-03-06 23:00Z", True, "2026-03-07 06:00Z"),
    ("22:00", "06:00", [5], "UTC", "2026-03-07 05:00Z", True, "2026-03-07 06:00Z"),
    ("22:00", "06:00", [5], "UTC", "2026-03-06 05:00Z", False, "2026-03-06 22:00Z"),
    ("22:00", "06:00", [5], "UTC", "2026-03-07 06:00Z", False, "2026-03-13 22:00Z"),
    ("00:00", "00:00", [1, 7], "UTC", "2026-03-09 12:00Z", True, "2026-03-10 00:00Z"),
    ("09:00", "17:00", None, "America/New_York", "2026-03-04 14:00Z", True, "2026-03-04 22:00Z"),
    # The night in which the clock is put forward, and the one in which it is put back.
    ("01:00", "04:00", None, "Europe/Berlin", "2026-03-29 00:30Z", True, "2026-03-29 02:00Z"),
    ("01:00", "04:00", None, "Europe/Berlin", "2026-10-25 01:30Z", True, "2026-10-25 03:00Z"),
])
def test_windows(db, opens, closes, days, zone, at, open_, until):
    found = one(db, "select open, until = %s::timestamptz, until from pgconductor.window_state(%s::time, %s::time, %s::int[], %s, %s::timestamptz)",
                until, opens, closes, days, zone, at)
    assert found[:2] == (open_, True), found


def test_good_names(db):
    for name in ("a", "A_b-c.d:e", "0", "x" * 128):
        declare(db, name, queue="q." + "x" * 60)
    assert one(db, "select count(*) from pgconductor.tasks") == (4,)


def test_precedence(db):
    """Set at run time over configuration over code; among programs the last by name; a client's word least."""
    declare_as(db, "set", max_attempts=9)
    declare_as(db, "config", max_attempts=8, timeout="8s")
    declare_as(db, "code:b", max_attempts=7, timeout="7s", backoff="7s", queue="b")
    declare_as(db, "code:a", max_attempts=6, timeout="6s", backoff="6s", remove_on_fail="6d", queue="a")
    declare_as(db, "code:client", max_attempts=5, remove_on_fail="5d", remove_on_complete="5d", queue="c")
    assert values(db) == {"max_attempts": (9, "set"), "timeout": ("8s", "config"), "backoff": ("7s", "code:b"),
                          "remove_on_fail": ("6d", "code:a"), "remove_on_complete": ("5d", "code:client"), "queue": ("b", "code:b"),
                          "total_timeout": (None, "default"), "concurrency": (None, "default"), "rate_limit": (None, "default"),
                          "window": (None, "default"), "timezone": (None, "default"), "days": (None, "default"),
                          "priority": (0, "default"), "concurrency_key": (None, "default"), "fifo_key": (None, "default"),
                          "batch": (None, "default")}
    t = task(db)
    assert (t["max_attempts"], t["timeout_ms"], t["backoff_ms"], t["queue"]) == (9, 8000, [7000], "b")
    assert days(db, "keep_fail") == datetime.timedelta(days=6)
    # Null takes back what a source said; a declaration replaces the former one of its source.
    declare_as(db, "set", max_attempts=None)
    assert values(db)["max_attempts"] == (8, "config")
    declare_as(db, "config")
    assert (values(db)["max_attempts"], values(db)["timeout"]) == ((7, "code:b"), ("7s", "code:b"))


def test_what_is_no_longer_declared(db):
    """What a source said counts no more. When no program and no configuration is left, the settings stay all the same."""
    declare_as(db, "config", "one", max_attempts=8)
    declare_as(db, "config", "two", max_attempts=8)
    declare_as(db, "code:app", "two", max_attempts=7, queue="media")
    declare_as(db, "code:client", "two", max_attempts=2)
    declare_as(db, "set", "two", timeout="1m")

    def retired(name):
        return one(db, "select retired_at is not null from pgconductor.tasks where name = %s", name)[0]
    db.execute("select pgconductor.undeclare('config', 'two')")
    assert values(db, "two")["max_attempts"] == (7, "code:app") and not retired("two")
    db.execute("select pgconductor.undeclare('code:app', 'two')")
    assert values(db, "two")["max_attempts"] == (7, "retired") and retired("two")
    assert values(db, "two")["queue"] == ("media", "retired") and values(db, "two")["timeout"] == ("1m", "set")
    assert task(db, "two")["queue"] == "media"
    one(db, "select pgconductor.invoke('two')")
    # What is set does not bring it back, what is declared does.
    declare_as(db, "set", "two", timeout="2m")
    assert retired("two")
    declare_as(db, "code:client", "two", max_attempts=3)
    assert not retired("two") and values(db, "two")["max_attempts"] == (3, "code:client")
    assert values(db, "two")["queue"] == ("default", "default") and values(db, "two")["timeout"] == ("2m", "set")
    assert values(db, "one")["max_attempts"] == (8, "config") and not retired("one")


def test_nodes_are_told_of_changes_only(db, connect):
    listener = connect()
    listener.execute("listen pgconductor")
    got = []
    listener.add_notify_handler(lambda n: got.append(n.payload))

    def told():
        listener.execute("select 1")
        listener.execute("select 1")
        n = len(got)
        got.clear()
        return n
    declare(db, max_attempts=4)
    assert told() == 1
    declare(db, max_attempts=4)
    assert told() == 0
    declare_as(db, "config", max_attempts=4)
    assert told() == 0
    declare_as(db, "config", max_attempts=5)
    assert told() == 1
    declare(db, max_attempts=6)
    assert told() == 0


def test_saying_it_again_takes_no_lock(db, connect):
    declare(db, max_attempts=4)
    other = connect(autocommit=False)
    other.execute("select from pgconductor.tasks for update")
    with db.transaction():
        db.execute("set local lock_timeout = '1s'")
        declare(db, max_attempts=4)


def test_two_at_once(db, connect):
    """Two programs declare a new task at the same time: both are heard."""
    import threading
    first = connect(autocommit=False)
    declare_as(first, "code:a", max_attempts=4)
    second = connect()
    thread = threading.Thread(target=declare_as, args=(second, "code:b"), kwargs={"timeout": "1s"})
    thread.start()
    while one(db, "select count(*) from pg_locks where not granted") == (0,):
        pass
    first.commit()
    thread.join(10)
    assert (values(db)["max_attempts"], values(db)["timeout"]) == ((4, "code:a"), ("1s", "code:b"))


def test_another_queue(db):
    """A task that moves to another queue takes new executions with it."""
    declare(db)
    declare(db, queue="media")
    made = one(db, "select pgconductor.invoke('work')")[0]
    made += 0
    assert one(db, "select e.queue, s.queue from pgconductor.executions e join pgconductor.shards s on s.id = e.shard") == (
        "media", "media")


def test_number_of_shards(db):
    def shards():
        return one(db, "select q.shard_ids, t.shard_ids, (select count(*) from pgconductor.shards) from pgconductor.queues q"
                       " join pgconductor.tasks t on t.queue = q.name")
    declare(db)
    first = shards()[0]
    assert shards() == (first, first, 4)
    db.execute("select pgconductor.ensure_queue('default')")
    assert shards() == (first, first, 4)
    db.execute("select pgconductor.ensure_queue('default', 2)")
    assert shards() == (first[:2], first[:2], 4)
    db.execute("select pgconductor.ensure_queue('default', 6)")
    six = shards()[0]
    assert six[:4] == first and len(six) == 6 and shards() == (six, six, 6)
    assert one(db, "select count(*) from pgconductor.lanes") == (6,)
    for n in (0, 1025):
        with pytest.raises(psycopg.Error) as caught:
            db.execute("select pgconductor.ensure_queue('default', %s)", (n,))
        assert caught.value.sqlstate == "PC009"
    with pytest.raises(psycopg.Error) as caught:
        db.execute("select pgconductor.ensure_queue('No')")
    assert caught.value.sqlstate == "PC004"


@pytest.mark.parametrize("name,value", [("max_payload", "1023"), ("max_payload", "x"), ("max_payload", "2000000000"),
                                        ("poll_interval_ms", "0"), ("poll_interval_ms", "-1"), ("keep_logs_ms", "-1"),
                                        ("keep_logs_ms", "1d"), ("other", "1")])
def test_bad_settings(db, name, value):
    with pytest.raises(psycopg.Error) as caught:
        db.execute("select pgconductor.set_setting(%s, %s)", (name, value))
    assert caught.value.sqlstate == "PC009"
