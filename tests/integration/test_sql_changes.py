"""Changes of tables in SQL: the triggers that note them, what is noted, what starts of it, and waiting for one."""

import json
import threading

import psycopg
import pytest

from support.sqlnode import declare, invoke, one, owner_of, row_of
from support.wait import wait_for


@pytest.fixture
def owner(db, connect):
    return owner_of(db, connect, "work", "a", "b")


@pytest.fixture
def users(db):
    """A table, and a role that may write to it and knows nothing of pgconductor."""
    db.execute("create table users (id bigint primary key, email text, amount numeric(10,2), doc json);"
               " do $$ begin create role writer login; exception when duplicate_object then null; end $$;"
               " grant all on users to writer")
    return "users"


def change(operation="insert", table="users", **more):
    return {"table": table, "operation": operation, **more}


def subscribe(db, *triggers, task="a", program="code:app"):
    db.execute("select pgconductor.declare_triggers(%s, %s, %s)", (program, task, json.dumps(triggers)))


def keep(db):
    """As a node does, until there is nothing more to do; returns the complaints."""
    said = []
    while True:
        next_ms, complaints = one(db, "select next_ms, complaints from pgconductor.keep_watches()")
        said += complaints.splitlines()
        if next_ms != 0:
            return said


def triggers(db):
    return sorted(db.execute("select tgrelid::regclass::text, tgname from pg_trigger where not tgisinternal and tgparentid = 0"
                             " and tgname like 'pgconductor%'").fetchall())


def started(db, owner, task=None):
    """(event, payload) of what was started by changes, in order."""
    owner.dispatch_all()
    return db.execute("select event, payload from pgconductor.executions where event is not null and task = coalesce(%s, task)"
                      " order by id", (task,)).fetchall()


def payload(old=None, new=None, table="users"):
    op = "UPDATE" if old and new else "INSERT" if new else "DELETE"
    return {"old": old, "new": new, "tg_table": table, "tg_op": op}


def ask(db, *changes):
    """What a node does before it suspends a run; returns the positions that it has to ask for again."""
    return db.execute("select pos, locked from pgconductor.watch(%s::json[])", ([json.dumps(c) for c in changes],)).fetchall()


def watch(db, *changes):
    """Until all are noted: a trigger for each call."""
    for n in range(len(changes), 0, -1):
        assert len(ask(db, *changes)) < n


def waiting(db, owner, *waits, some=False):
    made = invoke(db)
    watch(db, *(w["change"] for w in waits))
    assert owner.suspend((owner.run_of(made), list(waits), some)) == []
    return made


def outcome(owner, execution):
    owner.dispatch_all()
    owner.take_wakes()
    run = owner.run_of(execution)
    return owner.journal(run) if run else None


# ---- what is noted

def test_each_operation(db, owner, users):
    subscribe(db, change("insert", columns="id,email"), change("update", columns=["email"]), change("DELETE", columns=" id , id"))
    assert keep(db) == [] and len(triggers(db)) == 3
    db.execute("insert into users values (1, 'a', 2.50)")
    db.execute("update users set email = 'b'")
    db.execute("delete from users")
    assert started(db, owner) == [
        ("public.users.insert", payload(new={"id": 1, "email": "a"})),
        ("public.users.update", payload({"email": "a"}, {"email": "b"})),
        ("public.users.delete", payload({"id": 1}))]
    assert one(db, "select count(*) from pgconductor.executions where event_at is null")[0] == 0


def test_all_columns_as_they_stand(db, owner, users):
    """Numbers and JSON are as exact as in the table; a new column is there too."""
    subscribe(db, change(), change(columns="doc,amount"), task="a")
    keep(db)
    db.execute("""insert into users values (1, null, 2.50, '{"b" : 1e2, "a":"\\u0000"}')""")
    db.execute("alter table users add extra int default 7")
    owner.dispatch_all()
    texts = [r[0] for r in db.execute("select payload::text from pgconductor.executions where event is not null order by id").fetchall()]
    assert len(texts) == 2
    for text in texts:
        assert '{"b" : 1e2, "a":"\\u0000"}' in text and "2.50" in text
    db.execute("insert into users values (2)")
    owner.dispatch_all()
    last = one(db, "select payload from pgconductor.executions where task = 'a' and payload::text like '%extra%'")[0]
    assert last == payload(new={"id": 2, "email": None, "amount": None, "doc": None, "extra": 7})


def test_many_columns(db, owner):
    names = [f"c{n}" for n in range(120)]
    db.execute("create table wide (" + ", ".join(f"{n} int default {i}" for i, n in enumerate(names)) + ")")
    subscribe(db, change(table="wide", columns=names[:50]), change(table="wide", columns=names[10:]))
    assert keep(db) == []
    db.execute("insert into wide default values")
    assert sorted(len(p["new"]) for _, p in started(db, owner)) == [50, 110]


def test_condition(db, owner, users):
    """The trigger's own: over old and new, with what the table's schema has."""
    subscribe(db, change(when="new.amount > 10 and new.email like '%;--%'"), change("update", when="new.email is distinct from old.email"))
    assert keep(db) == []
    db.execute("insert into users values (1, 'x;--', 11), (2, 'x;--', 10), (3, 'x', 11)")
    db.execute("update users set email = 'x'")
    assert [(e, p["new"]["id"]) for e, p in started(db, owner)] == [
        ("public.users.insert", 1), ("public.users.update", 1), ("public.users.update", 2)]


def test_names_that_need_quotes(db, owner):
    db.execute("""create schema "My ""Shop"; create table "My ""Shop"."Order's, $1" ("the ""Id" int, "select" text, "x%y" int)""")
    subscribe(db, change(schema='My "Shop', table="Order's, $1", columns=['the "Id', "select", "x%y"], when='new."the ""Id" > 0'))
    assert keep(db) == []
    db.execute("""insert into "My ""Shop"."Order's, $1" values (0, 'no', 1), (1, 'yes', 2)""")
    assert started(db, owner) == [("My \"Shop.Order's, $1.insert",
                                   payload(new={'the "Id': 1, "select": "yes", "x%y": 2}, table="Order's, $1"))]


def test_partitioned_table(db, owner):
    """Also what is written to a partition itself, and to one that is made later."""
    db.execute("create table p (id int, v text) partition by range (id); create table p1 partition of p for values from (0) to (10)")
    subscribe(db, change(table="p"), change("update", table="p"), change("delete", table="p", columns="id"))
    assert keep(db) == []
    db.execute("create table p2 partition of p for values from (10) to (20)")
    db.execute("insert into p values (1, 'a'); insert into p1 values (2, 'b'); insert into p2 values (11, 'c')")
    db.execute("update p set v = 'd' where id = 11; delete from p where id = 1")
    assert started(db, owner) == [(f"public.p.{p['tg_op'].lower()}", p) for p in (
        payload(new={"id": 1, "v": "a"}, table="p"), payload(new={"id": 2, "v": "b"}, table="p"),
        payload(new={"id": 11, "v": "c"}, table="p"),
        payload({"id": 11, "v": "c"}, {"id": 11, "v": "d"}, table="p"), payload({"id": 1}, table="p"))]


def test_who_writes_needs_no_right(db, dsn, owner, users):
    """And can do nothing here by itself; also when it looks elsewhere for names."""
    subscribe(db, change(columns="id"))
    keep(db)
    with psycopg.connect(dsn, user="writer", autocommit=True) as writer:
        writer.execute("set search_path = pg_temp, public")
        writer.execute("create temp table events (x int); create temp table dispatcher (node int)")
        db.execute("create schema evil authorization writer")
        for left, right, name in (("text", "text", "="), ("text", "text", "<>"), ("timestamptz", "timestamptz", ">="), ("int", "int", ">")):
            writer.execute(f"create function evil.f({left}, {right}) returns boolean language plpgsql as 'begin raise exception ''as %'', current_user; end';"
                           f" create operator evil.{name} (leftarg = {left}, rightarg = {right}, function = evil.f)"
                           .replace("evil.f", f"evil.f{len(name)}{left}{ord(name[0])}"))
        writer.execute("create domain evil.timestamptz as text; create domain evil.json as text; create domain evil.text as int;"
                       " set search_path = evil, pg_catalog, public")
        writer.execute("insert into public.users values (1)")
        name = one(db, "select tgfoid::regproc::text from pg_trigger where tgname like 'pgconductor%'")[0]
        for statement in (f"select {name}()", "select * from pgconductor.events", "insert into pgconductor.events default values"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                writer.execute(statement)
        # Nor by a trigger of its own.
        writer.execute("create temp table own (id int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            writer.execute(f"create trigger t after insert on own for each row execute function {name}()")
    assert started(db, owner) == [("public.users.insert", payload(new={"id": 1}))]


def test_what_turns_a_row_to_json_may_do_nothing(db, owner):
    """A type's cast to JSON is somebody's function: it has no more rights than to append to the log."""
    db.execute("create type mood as enum ('good'); create table moods (id int, m mood);"
               "create function mood_json(mood) returns json language sql as $$ select to_json(current_user::text) $$;"
               "create cast (mood as json) with function mood_json(mood)")
    subscribe(db, change(table="moods", columns="m"), change(table="moods"))
    assert keep(db) == []
    db.execute("insert into moods values (1, 'good')")
    assert [p["new"]["m"] for _, p in started(db, owner)] == ["pgconductor_change"] * 2
    rights = db.execute("select c.relname from pg_class c where relnamespace = 'pgconductor'::regnamespace and relkind in ('r', 'p', 'v')"
                        " and has_table_privilege('pgconductor_change', c.oid, 'select, update, delete, truncate, trigger')").fetchall()
    assert rights == []
    assert one(db, "select has_schema_privilege('pgconductor_change', 'pgconductor', 'create')") == (False,)


def test_writers_go_on_whatever_becomes_of_the_columns(db, connect, owner, users):
    """In a session that has fired the trigger before, too."""
    subscribe(db, change(columns="id,email"))
    keep(db)
    writer = connect()
    writer.execute("insert into users values (1, 'a')")
    db.execute("alter table users alter email type varchar(10)")
    writer.execute("insert into users values (2, 'b')")
    db.execute("alter table users rename email to mail")
    writer.execute("insert into users values (3, 'c')")
    db.execute("alter table users drop mail")
    writer.execute("insert into users values (4)")
    assert [p["new"] for _, p in started(db, owner)] == [{"id": 1, "email": "a"}, {"id": 2, "email": "b"}, {"id": 3}, {"id": 4}]


def test_a_row_that_is_too_large(db, owner, users):
    """Is not what a user's transaction fails for."""
    db.execute("select pgconductor.set_setting('max_payload', '2000')")
    subscribe(db, change(columns="id,email"))
    keep(db)
    db.execute("insert into users values (1, repeat('x', 1500)), (2, repeat('x', 3000))")
    first, second = [p for _, p in started(db, owner)]
    assert first["new"]["id"] == 1
    assert second.pop("tg_error").endswith("bytes, the limit is 2000") and second == payload(new=None) | {"tg_op": "INSERT"}


def test_while_no_node_has_run_for_weeks(db, owner, users):
    """A day may have no partition; what a function knows of that is brought up to date."""
    subscribe(db, change(columns="id"))
    keep(db)
    db.execute("select pgconductor.fake_now(pgconductor.now() + interval '5 days')")
    covered = one(db, "select covered from pgconductor.watches")[0]
    keep(db)
    assert one(db, "select covered from pgconductor.watches")[0] == covered
    for (statement,) in db.execute("select pgconductor.partition_statements(current_date, current_date + 12)").fetchall():
        db.execute(statement)
    before = triggers(db)
    keep(db)
    assert one(db, "select covered from pgconductor.watches")[0] > covered and triggers(db) == before
    db.execute("select pgconductor.fake_now(pgconductor.now() + interval '40 days')")
    with psycopg.connect(db.info.dsn, user="writer", autocommit=True) as writer:
        writer.execute("insert into users values (1)")
    assert len(started(db, owner)) == 1


def test_rolled_back(db, connect, owner, users):
    subscribe(db, change(columns="id"))
    keep(db)
    with connect(autocommit=False) as conn:
        conn.execute("insert into users values (1)")
        conn.rollback()
    db.execute("insert into users values (2)")
    assert [p["new"] for _, p in started(db, owner)] == [{"id": 2}]


def test_what_is_emitted_is_no_change(db, owner, users):
    """And the other way round; two triggers of one table are told apart."""
    subscribe(db, change(columns="id"), task="a")
    subscribe(db, change(columns="email"), {"event": "public.users.insert"}, task="b")
    keep(db)
    one(db, "select pgconductor.emit('public.users.insert', '1'::text)")
    db.execute("insert into users values (1, 'x')")
    assert started(db, owner, "a") == [("public.users.insert", payload(new={"id": 1}))]
    assert started(db, owner, "b") == [("public.users.insert", 1), ("public.users.insert", payload(new={"email": "x"}))]
    assert [kind for kind, in db.execute("select event_kind from pgconductor.executions_all where task = 'b' order by id").fetchall()] == [
        "event", "change"]
    with pytest.raises(psycopg.Error, match="is not an event's name"):
        db.execute("select pgconductor.emit(%s, '1'::text)", (one(db, "select key from pgconductor.events where key like 'public.users.insert_%'"
                                                              " limit 1")[0],))


# ---- registering

def test_one_trigger_for_all_who_want_the_same(db, owner, users):
    subscribe(db, change(columns="id,email"), task="a")
    subscribe(db, change("Insert", schema="public", columns=["id", "email"]), change(columns="id,email"), task="b")
    assert keep(db) == [] and len(triggers(db)) == 1
    db.execute("insert into users values (1, 'x')")
    assert len(started(db, owner)) == 2


BAD = [
    ({"operation": "truncate"}, "operation: 'truncate' is none of insert, update and delete"),
    ({"operation": None}, "operation: null is none"),
    ({"columns": ""}, "columns: neither"), ({"columns": [1, None]}, "columns: neither"), ({"columns": {}}, "columns: neither"),
    ({"columns": []}, "columns: neither"), ({"columns": "a,,b"}, "columns: neither"),
    ({"schema": 1}, "schema: not a string"), ({"table": ["users"]}, "table: not a string"), ({"table": ""}, "is not a table's name"),
    ({"table": "x" * 64}, "is not a table's name"),
    ({"fields": "id"}, "fields: there are schema, table, operation, columns and when"),
    ({"when": ""}, "when: it is empty"), ({"when": "true) execute function f(); drop table users; --"}, "when: "),
    ({"when": "true) or (true"}, "when: a parenthesis is closed"), ({"when": "$$x$$ = 'x'"}, "when: it has a semicolon"),
    ({"when": "new.email = E'a\\'b'"}, "when: it has a string with escapes")]


def test_a_bad_trigger(db, owner, users):
    """Is refused, by its position; nothing of the list is taken."""
    for bad, why in BAD:
        with pytest.raises(psycopg.Error, match=f"task a: triggers.1.: .*{why}"):
            subscribe(db, {"event": "e"}, change() | bad)
    assert one(db, "select count(*) from pgconductor.subscriptions") == (0,)


NO_TRIGGER = [
    ({"table": "nope"}, "there is no table public.nope"), ({"schema": "No"}, 'there is no table "No".users'),
    ({"columns": "id,nope,\"No"}, 'table public.users has no column nope, """No"'), ({"columns": "ctid"}, "has no column ctid"),
    ({"when": "new.nope > 1"}, "table public.users: when: column new.nope does not exist"),
    ({"when": "old.id > 1"}, "table public.users: when: INSERT trigger's WHEN condition cannot reference OLD values"),
    ({"when": "new.id"}, "table public.users: when: argument of WHEN must be type boolean, not type bigint"),
    ({"when": "exists (select from users)"}, "table public.users: when: cannot use subquery in trigger WHEN condition"),
    ({"table": "v"}, "public.v is not a table"),
    ({"schema": "pgconductor", "table": "events"}, "pgconductor.events is a table of pgconductor itself"),
    ({"schema": "pg_catalog", "table": "pg_class"}, "table pg_catalog.pg_class: permission denied")]


def test_what_cannot_be_watched(db, owner, users):
    """Is said once, and stops nothing else; it is tried again."""
    db.execute("create view v as select * from users")
    for n, (bad, _) in enumerate(NO_TRIGGER):
        declare(db, f"bad{n}")
        subscribe(db, change() | bad, task=f"bad{n}")
    subscribe(db, change(columns="id"), task="b")
    said = dict(s.split(" waits for insert of ") for s in keep(db))
    for n, (_, why) in enumerate(NO_TRIGGER):
        assert why in said.pop(f"task bad{n}")
    assert said == {}
    db.execute("insert into users values (1)")
    assert [p["new"] for _, p in started(db, owner)] == [{"id": 1}]
    db.execute("update pgconductor.watches set tried_at = tried_at - interval '1 minute' where problem is not null")
    assert keep(db) == [] and len(triggers(db)) == 1


def test_a_table_that_comes_later_and_goes(db, owner, users):
    def later():
        db.execute("update pgconductor.watches set tried_at = tried_at - interval '1 minute'")
        return keep(db)

    subscribe(db, change(table="late"))
    assert "there is no table public.late" in keep(db)[0]
    db.execute("create table late (id int)")
    assert keep(db) == [] and triggers(db) == []
    assert later() == [] and len(triggers(db)) == 1
    db.execute("drop table late")
    assert "there is no table" in later()[0]
    # In the place of another one.
    db.execute("create table late (id int)")
    later()
    db.execute("alter table late rename to former; create table late (id int)")
    assert later() == [] and [t for t, _ in triggers(db)] == ["late"]
    db.execute("insert into late values (1); insert into former values (2)")
    assert [p["new"] for _, p in started(db, owner)] == [{"id": 1}]


def test_nothing_is_touched_when_nothing_has_changed(db, connect, owner, users):
    """Though somebody has the table locked, and the rows that say so."""
    said = [change(columns="id"), {"event": "e"}, change("update", when="new.id > 0")]
    subscribe(db, *said)
    keep(db)
    before = one(db, "select array_agg(to_json(w)::text order by id) from pgconductor.watches w"), triggers(db)
    rows = "select array_agg(ctid || xmin::text order by id) from pgconductor.watches"
    versions = one(db, rows)
    with connect(autocommit=False) as conn:
        conn.execute("lock table users; select from pgconductor.watches for update; select from pgconductor.subscriptions for update;"
                     " select from pgconductor.tasks for update")
        db.execute("set lock_timeout = '1ms'")
        subscribe(db, *said)
        assert keep(db) == []
    assert (one(db, "select array_agg(to_json(w)::text order by id) from pgconductor.watches w"), triggers(db)) == before
    assert one(db, rows) == versions


def test_a_locked_table(db, connect, owner, users):
    """Whoever writes to it is not kept waiting for long, others are served, and it is tried until it is free."""
    subscribe(db, change())
    db.execute("create table other (id int)")
    subscribe(db, change(table="other"), task="b")
    with connect(autocommit=False) as conn:
        conn.execute("insert into users values (1)")
        next_ms, said = one(db, "select next_ms, complaints from pgconductor.keep_watches()")
        assert said == "task a waits for insert of public.users: table public.users is locked by somebody; it is tried again"
        assert [t for t, _ in triggers(db)] == ["other"]
        db.execute("update pgconductor.watches set tried_at = tried_at - interval '1 minute'")
        next_ms, said = one(db, "select next_ms, complaints from pgconductor.keep_watches()")
        assert next_ms == 1000 and said == ""
        assert ask(db, change()) == [(1, True)]
        assert one(db, "show lock_timeout") == ("0",)
        conn.rollback()
    assert ask(db, change()) == [] and [t for t, _ in triggers(db)] == ["other", "users"]


def test_dropped_some_time_after_the_last(db, connect, owner, users):
    """Not at once; not while somebody waits; and when it is wanted again meanwhile, the time begins anew."""
    def pass_time(interval):
        db.execute("select pgconductor.fake_now(pgconductor.now() + %s::interval)", (interval,))
        return keep(db)

    subscribe(db, change())
    keep(db)
    name = triggers(db)
    subscribe(db)
    assert one(db, "select count(*) from pgconductor.subscriptions") == (0,)
    assert pass_time("1 minute") == [] and pass_time("9 minutes") == [] and triggers(db) == name
    subscribe(db, change())
    assert pass_time("1 hour") == [] and triggers(db) == name
    subscribe(db)
    keep(db)
    waits = waiting(db, owner, {"key": "w", "change": change()})
    pass_time("1 hour")
    assert triggers(db) == name
    db.execute("insert into users values (1)")
    assert outcome(owner, waits) == {"w": payload(new={"id": 1, "email": None, "amount": None, "doc": None})}
    keep(db)
    pass_time("9 minutes")
    assert triggers(db) == name
    with connect(autocommit=False) as conn:
        conn.execute("insert into users values (2)")
        pass_time("2 minutes")
        assert triggers(db) == name
    keep(db)
    assert triggers(db) == [] and one(db, "select count(*) from pgconductor.watches") == (0,)
    assert one(db, "select count(*) from pg_proc where proname like 'change\\_%' and pronargs = 0") == (0,)


def test_who_does_not_own_the_table(own_cluster):
    """To be told of its changes it takes the right to make triggers on it; to drop them none."""
    cluster = own_cluster(migrate=False)
    admin = cluster.connect("test")
    admin.execute("create role app login createrole; create schema pgconductor authorization app; create table users (id int);"
                  " create table others (id int); grant trigger on users to app")
    from test_sql_install import psql, schema
    psql(cluster.dsn("test", user="app"), schema())
    with psycopg.connect(cluster.dsn("test", user="app"), autocommit=True) as app:
        declare(app, "a")
        subscribe(app, change(), change(table="others"))
        assert [s.split(": ", 1)[1] for s in keep(app)] == ["table public.others: permission denied for table others"]
        admin.execute("insert into users values (1)")
        assert one(app, "select payload from pgconductor.events")[0]["new"] == {"id": 1}
        subscribe(app)
        keep(app)
        app.execute("update pgconductor.watches set unused_since = unused_since - interval '1 day'")
        keep(app)
        assert triggers(app) == []


def test_two_nodes_at_once(db, connect, users, owner):
    for n in range(10):
        db.execute(f"create table t{n} (id int)")
        subscribe(db, change(table=f"t{n}"), change("delete", table=f"t{n}"), task="ab"[n % 2], program=f"code:{n}")
    threads = [threading.Thread(target=lambda conn: wait_for(lambda: keep(conn) == [] and len(triggers(conn)) == 20, 20, "all are made"),
                                args=(connect(),)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(triggers(db)) == 20 and one(db, "select count(*) from pgconductor.watches where problem is not null") == (0,)


# ---- waiting

def test_a_wait_ends_with_the_change(db, owner, users):
    waits = waiting(db, owner, {"key": "w", "change": change(columns="id", when="new.id > 1")})
    db.execute("insert into users values (1)")
    assert outcome(owner, waits) is None
    db.execute("insert into users values (2), (3)")
    assert outcome(owner, waits) == {"w": payload(new={"id": 2})}


def test_any_and_all(db, owner, users):
    waits = [{"key": "i", "change": change(columns="id")}, {"key": "d", "change": change("delete", columns="id")}]
    some, every = waiting(db, owner, *waits, some=True), waiting(db, owner, *waits)
    db.execute("insert into users values (1)")
    assert outcome(owner, some) == {"i": payload(new={"id": 1})} and outcome(owner, every) is None
    db.execute("delete from users")
    assert outcome(owner, every) == {"i": payload(new={"id": 1}), "d": payload({"id": 1})}


def test_no_change_is_lost_that_is_committed_after_the_suspend(db, connect, owner, users):
    """Though it was made before, in a transaction that was open then, with the trigger there or not."""
    c = change(columns="id")
    assert ask(db, c) == []
    made = invoke(db)
    with connect(autocommit=False) as conn:
        conn.execute("insert into users values (1)")
        assert owner.suspend((owner.run_of(made), [{"key": "w", "change": c}])) == []
        owner.dispatch_all()
    assert outcome(owner, made) == {"w": payload(new={"id": 1})}
    # What is written when the trigger is asked for is waited for, and what begins then sees the trigger.
    with connect(autocommit=False) as conn:
        conn.execute("update users set id = 2")
        assert ask(db, change("update", columns="id")) == [(1, True)]
    assert waiting(db, owner, {"key": "w", "change": change("update", columns="id")}) is not None


def test_since_the_start(db, owner, users):
    """What the trigger has seen since then, each once."""
    c = change(columns="id")
    assert ask(db, c) == []
    made = invoke(db)
    db.execute("insert into users values (1), (2)")
    for n in (1, 2):
        assert owner.suspend((owner.run_of(made), [{"key": f"w{n}", "change": c, "since": "start"}])) == []
        assert outcome(owner, made)[f"w{n}"] == payload(new={"id": n})


def test_a_bad_change_ends_the_wait(db, owner, users):
    for bad, why in (({"table": "nope"}, "there is no table public.nope"), ({"columns": "nope"}, "table public.users has no column nope"),
                     ({"when": "new.nope"}, "table public.users: when: column new.nope does not exist"),
                     ({"operation": "x"}, "operation: 'x' is none of insert, update and delete"), ({"table": "a\0"}, "it has")):
        made = waiting(db, owner, {"key": "w", "change": change() | bad})
        _, _, key, _, error, _ = owner.steps(owner.run_of(made))[0]
        error = json.loads(error)
        assert key == "w" and error["code"] == "bad_change" and why in error["message"]
    # Another try, when it is there.
    db.execute("create table nope (id int)")
    made = waiting(db, owner, {"key": "w", "change": change(table="nope")})
    db.execute("insert into nope values (1)")
    assert outcome(owner, made) == {"w": payload(new={"id": 1}, table="nope")}


def test_a_trigger_that_was_dropped_before_the_suspend(db, owner, users):
    """The run is made ready again, and waits anew; the one beside it is suspended."""
    c, d = change(columns="id"), change("delete")
    first, second = invoke(db), invoke(db)
    watch(db, c, d)
    db.execute("update pgconductor.watches set unused_since = '2000-01-01' where operation = 'insert'")
    keep(db)
    assert len(triggers(db)) == 1
    owner.suspend((owner.run_of(first), [{"key": "w", "change": c}, {"key": "n", "timer_ms": 60000}]),
                  (owner.run_of(second), [{"key": "w", "change": d}]))
    assert owner.journal(owner.run_of(first)) == {} and row_of(db, second)["waiting"] == "suspended"
    assert ask(db, c) == []
    assert owner.suspend((owner.run_of(first), [{"key": "w", "change": c}])) == []
    db.execute("insert into users values (1)")
    assert outcome(owner, first) == {"w": payload(new={"id": 1})}


def test_dropping_waits_for_who_suspends(db, connect, owner, users):
    """And finds what it has written."""
    c = change(columns="id")
    assert ask(db, c) == []
    db.execute("update pgconductor.watches set unused_since = '2000-01-01'")
    made = invoke(db)
    owner.writer.execute("begin")
    owner.suspend((owner.run_of(made), [{"key": "w", "change": c}]))
    assert keep(db) == [] and len(triggers(db)) == 1
    owner.writer.execute("commit")
    assert keep(db) == [] and len(triggers(db)) == 1
    db.execute("insert into users values (1)")
    assert outcome(owner, made) == {"w": payload(new={"id": 1})}
