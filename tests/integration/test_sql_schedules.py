"""Schedules, as the database keeps them: what is stored, what is due, what is made up for, and by whom."""

import threading
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from support.sqlnode import declare, one

BEGIN = datetime(2030, 1, 1, tzinfo=timezone.utc)
SCHEDULE = "select pgconductor.schedule({})"


@pytest.fixture
def at(db):
    """at("12:00"): the time of the session, of 2030-01-01, or of a later day: at("12:00", 3)."""
    def at(clock, day=1):
        moment = datetime.fromisoformat(f"2030-01-{day:02} {clock}").replace(tzinfo=timezone.utc)
        db.execute("select set_config('pgconductor.fake_now', %s, false)", (str(moment),))
    declare(db)
    at("00:00")
    return at


def schedule(db, cron, name="tick", task="work", **options):
    options = {"task": task, "name": name, "cron": cron} | options
    return one(db, SCHEDULE.format(", ".join(f"{k} => %s" for k in options)), *options.values())[0]


def fire(db, most=1000):
    """How many were made, and when the next one is due: in milliseconds, up to a tenth of a second."""
    return one(db, "select fired, ceil(next_due_ms / 100.0)::bigint * 100 from pgconductor.fire_schedules(%s)", most)


def made(db, name="tick", since=0):
    """Ticks of the executions that were made, by their ids."""
    return [f"{t:%d %H:%M:%S}" for t, in db.execute(
        "select event_at from pgconductor.executions_all where event = %s and id > %s order by id", (name, since)).fetchall()]


def of(db, name="tick", task="work"):
    row = db.execute("""select program, cron, timezone, enabled, overlap, catchup, nullif(next_at, 'infinity') as next_at, last_at,
        last_execution, problem from pgconductor.schedules where name = %s and task = %s""", (name, task))
    return dict(zip((c.name for c in row.description), row.fetchone()))


def refused(db, why, code="PC012", statement=None, **options):
    with pytest.raises(psycopg.Error) as caught:
        if statement:
            db.execute(statement)
        else:
            schedule(db, options.pop("cron", "* * * * *"), **options)
    assert caught.value.sqlstate == code and why in caught.value.diag.message_primary, caught.value


# ---- storing ----

def test_due_and_on(db, at):
    assert schedule(db, "*/15 * * * *", payload='{"n" : 12.50}') == BEGIN + timedelta(minutes=15)
    at("00:14:59.5")
    assert fire(db) == (0, 500)
    at("00:15")
    assert fire(db)[0] == 1
    row = one(db, "select task, queue, event, event_at, run_at, payload::text, state, priority from pgconductor.executions_all")
    due = BEGIN + timedelta(minutes=15)
    assert row == ("work", "default", "tick", due, due, '{"n" : 12.50}', "ready", 0)
    kept = of(db)
    assert kept["next_at"] == due + timedelta(minutes=15)
    assert kept["last_at"] == due and kept["last_execution"] == one(db, "select id from pgconductor.executions")[0]
    assert fire(db)[0] == 0 and made(db) == ["01 00:15:00"]


def test_the_time_it_is_for_stays(db, at, connect):
    """In history, and when it is tried again."""
    schedule(db, "15 * * * *")
    at("00:15:01")
    fire(db)
    which = one(db, "select id from pgconductor.executions")[0]
    assert one(db, "select pgconductor.cancel(%s)", which)[0]
    assert one(db, "select event, event_at from pgconductor.executions_all") == ("tick", BEGIN + timedelta(minutes=15))
    assert one(db, "select pgconductor.retry(%s)", which)[0]
    assert one(db, "select state, event, event_at from pgconductor.executions_all") == ("ready", "tick", BEGIN + timedelta(minutes=15))


def test_a_payload_of_any_type(db, at):
    for n, payload in enumerate(("'{\"a\": 1}'", "'{\"a\" : 1}'::json", "'{\"a\": 1}'::jsonb", "null::text")):
        db.execute(f"select pgconductor.schedule('work', 'p{n}', '@hourly', {payload})")
    db.execute("select pgconductor.schedule('work', null, ' @daily ')")
    assert [(r[0], r[1]) for r in db.execute("select name, payload::text from pgconductor.schedules order by name").fetchall()] == [
        ("@daily", "null"), ("p0", '{"a": 1}'), ("p1", '{"a" : 1}'), ("p2", '{"a": 1}'), ("p3", "null")]


def test_what_is_refused(db, at):
    refused(db, "task: 'nobody' was never declared", "PC001", task="nobody")
    refused(db, "payload: not JSON", "PC002", payload="{")
    db.execute("update pgconductor.settings set value = '10' where name = 'max_payload'")
    refused(db, "payload: 12 bytes, the limit is 10", "PC003", payload='"1234567890"')
    refused(db, "pgconductor.schedule: cron: minute: '61'", cron="61 * * * *")
    for zone in ("Mars/Phobos", "CEST", "+02", "UTC+3", "", "foo3", "../etc/passwd"):
        refused(db, f"timezone: '{zone}': no such time zone", timezone=zone)
    refused(db, "overlap: 'maybe': neither", overlap="maybe")
    for catchup in ("some", "0", "1001", "-1", ""):
        refused(db, f"catchup: '{catchup}': neither", catchup=catchup)
    refused(db, "name: ''", name="")
    refused(db, "name: ", name="x" * 129)
    refused(db, "name: ", name="a\nb")
    assert one(db, "select count(*) from pgconductor.schedules") == (0,)


def test_the_same_name_replaces(db, at):
    schedule(db, "0 12 * * *", payload="1")
    schedule(db, "0 12 * * *", name="other")
    at("12:00:10")
    # As it was, so that the tick of 12:00, not yet seen to, is kept.
    assert schedule(db, "0 12 * * *", payload="2", overlap="skip") == BEGIN + timedelta(hours=12)
    assert schedule(db, "0  12 * * 0-7", payload="2") == BEGIN + timedelta(hours=12)
    assert schedule(db, "0 12 * * *", name="other", timezone="europe/berlin") == BEGIN + timedelta(hours=35)
    assert of(db, "other")["timezone"] == "Europe/Berlin"
    assert fire(db)[0] == 1 and one(db, "select payload::text from pgconductor.executions") == ("2",)


def test_pausing(db, at):
    schedule(db, "*/10 * * * *", catchup="all")
    schedule(db, "*/10 * * * *", name="born", enabled=False)
    assert one(db, "select pgconductor.enable_schedule('work', 'tick', false)")[0]
    at("01:05")
    assert fire(db) == (0, None)
    for name in ("tick", "born"):
        assert one(db, "select pgconductor.enable_schedule('work', %s)", name)[0]
    assert fire(db) == (0, 300000)
    # Once more does nothing: what is due stays due.
    at("01:10")
    db.execute("select pgconductor.enable_schedule('work', 'tick')")
    assert fire(db)[0] == 2
    assert one(db, "select pgconductor.enable_schedule('work', 'none')") == (False,)


def test_unscheduling(db, at):
    schedule(db, "* * * * *")
    at("00:01")
    fire(db)
    assert one(db, "select pgconductor.unschedule('work', 'tick')") == (True,)
    assert one(db, "select pgconductor.unschedule('work', 'tick')") == (False,)
    at("00:02")
    assert fire(db) == (0, None) and made(db) == ["01 00:01:00"]


def test_clients_may(dsn, connect):
    db = connect()
    declare(db)
    db.execute("do $$ begin create role cron_client login in role pgconductor_client; exception when duplicate_object then null; end $$")
    with connect(user="cron_client") as client:
        client.execute("set timezone = 'America/New_York'")
        client.execute("select pgconductor.schedule('work', 'tick', '30 2 8 3 *', timezone => 'America/New_York')")
        assert client.execute("select pgconductor.enable_schedule('work', 'tick', false)").fetchone()[0]
        assert client.execute("select pgconductor.unschedule('work', 'tick')").fetchone()[0]


# ---- what was missed ----

def hours(*which):
    return [f"01 0{h}:00:00" for h in which]


def test_catching_up(db, at):
    expected = {"skip": [], "last": hours(5), "3": hours(3, 4, 5), "100": hours(1, 2, 3, 4, 5), "all": hours(1, 2, 3, 4, 5)}
    for catchup in expected:
        schedule(db, "0 * * * *", catchup=catchup, name=catchup)
    at("05:30")
    assert fire(db) == (14, 1800000)
    assert {catchup: made(db, catchup) for catchup in expected} == expected
    # Those of one schedule in one shard: in order.
    assert one(db, "select max(n) from (select count(distinct shard) n from pgconductor.executions group by event) x") == (1,)


def test_what_is_new_counts(db, at):
    """A tick of the last minute is not missed; and where one is made for it, no other is made up for the last."""
    expected = {"skip": hours(5), "last": hours(5), "2": hours(4, 5)}
    for catchup in expected:
        schedule(db, "0 * * * *", catchup=catchup, name=catchup)
    at("05:00:59")
    fire(db)
    assert {catchup: made(db, catchup) for catchup in expected} == expected


def test_a_failover_misses_nothing(db, at):
    """Ticks of the last minute, each of them, whatever is made up for."""
    schedule(db, "*/10 * * * * *")
    at("00:00:45")
    assert fire(db)[0] == 4
    at("00:01:30")
    assert fire(db)[0] == 5
    assert made(db) == [f"01 00:0{t // 60}:{t % 60:02}" for t in range(10, 91, 10)]
    at("02:00")
    assert fire(db)[0] == 7
    assert made(db)[9:] == [f"01 01:59:{t:02}" for t in range(0, 60, 10)] + ["01 02:00:00"]


def test_a_long_time(db, at):
    """A schedule of each second, after a month: all, some at a time; the last few at once."""
    schedule(db, "* * * * * *", catchup="5", name="few")
    schedule(db, "0 0 3 * * *", catchup="2", name="rare")
    schedule(db, "* * * * * *", catchup="all", name="all")
    at("12:00", 31)
    fired, wait = fire(db)
    assert wait == 0 and len(made(db, "few")) == 61 and made(db, "rare") == ["30 03:00:00", "31 03:00:00"]
    assert made(db, "all") == [f"01 00:0{s // 60}:{s % 60:02}" for s in range(1, 101)] and fired == 61 + 2 + 100
    assert fire(db) == (100, 0) and made(db, "all")[-1] == "01 00:03:20"


# ---- overlap ----

def test_overlap(db, at):
    schedule(db, "0 * * * *", overlap="skip", catchup="all")
    schedule(db, "0 * * * *", name="lax")
    at("01:00")
    assert fire(db)[0] == 2
    at("02:00")
    assert fire(db)[0] == 1 and made(db) == ["01 01:00:00"] and len(made(db, "lax")) == 2
    db.execute("select pgconductor.cancel(id) from pgconductor.executions where event = 'tick'")
    # Of what was missed only the last, as the first would keep it out.
    at("05:00")
    assert fire(db)[0] == 2 and made(db) == ["01 01:00:00", "01 05:00:00"]
    assert of(db)["next_at"] == BEGIN + timedelta(hours=6)


# ---- whoever is first ----

def test_two_nodes(db, at, connect):
    """What one has locked, another one leaves to it; what was fired meanwhile is not fired again."""
    for n in range(4):
        schedule(db, "* * * * *", name=f"s{n}")
    first, second = connect(autocommit=False), connect(autocommit=False)
    for conn in (first, second):
        conn.execute("select set_config('pgconductor.fake_now', '2030-01-01 00:01:00+00', false)")
        conn.commit()
    assert fire(first, 3)[0] == 3
    assert fire(second) == (1, 0) and fire(second) == (0, 100)
    first.rollback()
    second.commit()
    assert fire(second)[0] == 3
    second.commit()
    assert fire(first)[0] == 0
    assert one(db, "select count(*), count(distinct event) from pgconductor.executions") == (4, 4)


def test_racing_nodes(db, at, connect):
    """Many ask for the same at the same time, some roll back: each tick once."""
    for n in range(50):
        schedule(db, "*/30 * * * * *", name=f"s{n}", catchup="all")
    ticks = 10

    def node(k):
        conn = connect(autocommit=False)
        for tick in range(1, ticks + 1):
            moment = BEGIN + timedelta(seconds=30 * tick)
            conn.execute("select set_config('pgconductor.fake_now', %s, false)", (str(moment),))
            conn.commit()
            for n in range(6):
                fire(conn, 20)
                if (k + n) % 3:
                    conn.commit()
                else:
                    conn.rollback()
    threads = [threading.Thread(target=node, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    at("00:05")
    while fire(db)[0]:
        pass
    assert one(db, "select count(*), count(distinct (event, event_at)) from pgconductor.executions") == (50 * ticks, 50 * ticks)


def test_one_that_cannot_be_computed(db, at):
    """Its time zone is gone from the server, say: it is stopped with the reason, and keeps no other from being fired."""
    schedule(db, "* * * * *", name="good")
    schedule(db, "* * * * *", name="bad")
    db.execute("update pgconductor.schedules set timezone = 'Gone/Away' where name = 'bad'")
    at("00:01")
    assert fire(db) == (1, 60000)
    assert len(made(db, "good")) == 1 and "Gone/Away" in of(db, "bad")["problem"]
    at("00:02")
    assert fire(db)[0] == 1
    schedule(db, "* * * * *", name="bad")
    assert of(db, "bad")["problem"] is None
    at("00:03")
    assert fire(db)[0] == 2


def test_many_at_once(db, at):
    """Ten thousand in one second: within 5 s, a half of which is left for slow machines."""
    db.execute("""select pgconductor.schedule('work', 's' || n, '0 12 * * *', timezone => case n % 3 when 0 then 'Europe/Berlin'
        else 'UTC' end) from generate_series(1, 10000) n""")
    at("12:00", 2)
    db.execute("update pgconductor.schedules set next_at = pgconductor.now()")
    began = datetime.now()
    fired = 0
    while (step := fire(db))[0]:
        fired += step[0]
    assert fired == 10000 and step[1] == 82800000
    assert (datetime.now() - began).total_seconds() < 5
    assert one(db, "select min(n), max(n) from (select count(*) n from pgconductor.executions group by shard) x")[0] > 1000


def test_the_node_is_told(db, at, connect):
    listener = connect()
    listener.execute("listen pgconductor")
    schedule(db, "* * * * *")
    with db.transaction():
        db.execute("set local pgconductor.notify = off")
        schedule(db, "* * * * *", name="silent")
    db.execute("notify pgconductor, 'end'")
    told = listener.notifies()
    assert [next(told).payload, next(told).payload] == ["schedules", "end"]


# ---- what programs declare ----

def declared(db, triggers, program="code:app", task="work"):
    db.execute("select pgconductor.declare_triggers(%s, %s, %s::json)", (program, task, triggers))


def names(db):
    return [r[0] for r in db.execute("select name from pgconductor.schedules order by 1").fetchall()]


def test_declared_ones_are_replaced_as_a_whole(db, at):
    declared(db, '[{"invocable": true}, {"cron": "0 9 * * *", "name": "morning", "payload": {"a" : 1}}, {"cron": "@hourly"}]')
    assert names(db) == ["@hourly", "morning"] and of(db, "morning")["program"] == "code:app"
    before = of(db, "morning")
    at("09:00:01")
    # The same again, by a program that starts anew: the tick is not lost. And it takes no lock.
    with db.transaction():
        declared(db, '[{"cron": "0 9 * * *", "name": "morning", "payload": {"a" : 1}}, {"cron": "@hourly", "overlap": "allow"},'
                     ' {"invocable": true}]')
        assert one(db, "select pg_current_xact_id_if_assigned()") == (None,)
    assert of(db, "morning") == before and fire(db)[0] == 2
    declared(db, '[{"cron": "0 10 * * *", "name": "morning", "timezone": "Europe/Berlin", "catchup": 3, "overlap": "skip"}]')
    assert names(db) == ["morning"]
    assert of(db, "morning")["next_at"] == BEGIN + timedelta(days=1, hours=9)
    assert of(db, "morning")["catchup"] == 3 and of(db, "morning")["overlap"] == "skip"
    declared(db, None)
    assert names(db) == []


def test_those_of_others_stay(db, at):
    declare(db, "part")
    declared(db, '{"cron": "@daily", "name": "a"}')
    declared(db, '{"cron": "@daily", "name": "b"}', program="code:other")
    declared(db, '{"cron": "@daily", "name": "a"}', task="part")
    schedule(db, "@daily", name="c")
    declared(db, '[{"invocable": true}]')
    assert names(db) == ["a", "b", "c"] and of(db, "a", "part")["program"] == "code:app"


def test_run_time_counts_for_more(db, at):
    declared(db, '[{"cron": "@daily", "name": "a"}, {"cron": "@daily", "name": "b"}]')
    refused(db, "'a' of work is declared by code:app", statement="select pgconductor.unschedule('work', 'a')")
    schedule(db, "@hourly", name="a", payload="7")
    db.execute("select pgconductor.enable_schedule('work', 'b', false)")
    declared(db, '[{"cron": "@daily", "name": "a"}, {"cron": "@hourly", "name": "b"}]')
    assert (of(db, "a")["cron"], of(db, "a")["program"]) == ("@hourly", None)
    assert (of(db, "b")["cron"], of(db, "b")["enabled"]) == ("@hourly", False)
    declared(db, "[]")
    assert names(db) == ["a"]
    assert one(db, "select pgconductor.unschedule('work', 'a')")[0]


BAD = [
    ('[{"invocable": true}, {"cron": "0 25 * * *"}]', "task work: triggers[1]: cron: hour: '25': not between 0 and 23"),
    ('[{"cron": "@daily", "timezone": "Nowhere"}]', "task work: triggers[0]: timezone: 'Nowhere': no such time zone"),
    ('[{"cron": "@daily", "at": 5}]', "task work: triggers[0]: at: a cron trigger has no such member"),
    ('[{"cron": "@daily"}, {"cron": "@daily"}]', "task work: triggers[1]: name: '@daily' stands there twice"),
    ('[{"cron": "@daily"}, 5]', "task work: triggers[1]: not a trigger"), ('[{}]', "task work: triggers[0]: not a trigger"),
    ('"@daily"', "task work: triggers: not a JSON array"),
]


def test_a_bad_trigger_changes_nothing(db, at):
    declared(db, '[{"cron": "@hourly"}]')
    for triggers, why in BAD:
        refused(db, why, statement=f"select pgconductor.declare_triggers('code:app', 'work', $${triggers}$$)")
        assert names(db) == ["@hourly"]
