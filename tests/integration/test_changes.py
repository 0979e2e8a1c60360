"""Changes of tables on running servers: what they start, what waits for them, and the triggers on the tables."""

import json
import os
import threading

import pytest

from support import paths
from support.engine import value, wait_finished
from support.wait import wait_for
from test_events import asleep, seen, suspended

PROGRAM = paths.built("tests/support/events_c")
CONFIG = 'poll_interval = "60s"\n'


@pytest.fixture
def serve(server, ledger):
    """serve(triggers=None, more=""): a server with the program of tests/support/events_c.c."""
    def start(triggers=None, more=CONFIG, **options):
        environment = {"LEDGER": ledger.path}
        if triggers is not None:
            environment["TRIGGERS"] = json.dumps(triggers)
        pairs = ", ".join(json.dumps(f"{k}={v}") for k, v in environment.items())
        return server(config=f'{more}handler "app" {{ command = "{PROGRAM}" env = {{ {pairs} }} }}\n'
                             'queue "default" { handler = "app" concurrency = 50 processes = 4 }\n', **options)
    return start


@pytest.fixture
def users(db):
    db.execute("create table users (id bigint primary key, email text)")


def triggers(db):
    """(table, oid) of ours."""
    return db.execute("select tgrelid::regclass::text, oid::int from pg_trigger where tgname like 'pgconductor%' order by oid").fetchall()


def made(db, n):
    wait_for(lambda: len(triggers(db)) == n, 20, f"{n} triggers")


def payload(old=None, new=None, table="users"):
    op = "UPDATE" if old and new else "INSERT" if new else "DELETE"
    return {"old": old, "new": new, "tg_table": table, "tg_op": op}


def insert(operation="insert", table="users", **more):
    return {"table": table, "operation": operation, **more}


def wait(db, *waits, **more):
    return value(db, "select pgconductor.invoke('wait', %s)", json.dumps({"waits": waits} | more))


def test_a_change_starts_a_task(serve, db, ledger, users):
    """At once, though the node sleeps. What cannot be watched is told of, and stops nothing else."""
    node = serve([insert(table="nope"), insert(columns="id,nope"), insert(when="new.nope"), insert(columns="id", when="new.id > 1"),
                  insert("update"), {"invocable": True}])
    made(db, 2)
    for why in ("there is no table public.nope", "table public.users has no column nope", "when: column new.nope does not exist"):
        node.wait_log(f"task seen waits for insert of public.{'nope' if 'no table' in why else 'users'}: .*{why}")
    asleep(db)
    db.execute("insert into users values (1, 'a'), (2, 'b')")
    wait_for(lambda: len(seen(ledger)) == 1, 10, "it was started")
    db.execute("update users set email = 'c' where id = 1")
    wait_for(lambda: len(seen(ledger)) == 2, 10, "it was started")
    assert [(e, json.loads(p)) for e, _, p in seen(ledger)] == [
        ("public.users.insert", payload(new={"id": 2})),
        ("public.users.update", payload({"id": 1, "email": "a"}, {"id": 1, "email": "c"}))]


def test_a_start_touches_nothing(serve, db, connect, ledger, users):
    """Somebody has the table locked, and does not let go: what is there stays, and serves."""
    said = [insert(columns="id"), insert("delete")]
    serve(said).stop()
    made(db, 2)
    before = triggers(db)
    rows = value(db, "select array_agg(ctid || xmin::text order by id) from pgconductor.watches")
    with connect(autocommit=False) as conn:
        conn.execute("lock table users in access exclusive mode")
        node = serve(said)
        asleep(db)
        assert value(db, "select count(*) from pg_locks where not granted and relation = 'users'::regclass") == 0
        conn.execute("insert into users values (1)")
        conn.commit()
        wait_for(lambda: len(seen(ledger)) == 1, 10, "it was started")
    assert triggers(db) == before
    assert value(db, "select array_agg(ctid || xmin::text order by id) from pgconductor.watches") == rows
    # Another version: the one that is new is made, the other stays.
    node.stop()
    serve([insert(columns="id"), insert("update")])
    made(db, 3)
    assert triggers(db)[:2] == before


def test_waiting_for_changes(serve, db, users):
    serve()
    one = wait(db, insert(columns="id", filter="new.id = 7"))
    every = wait(db, insert(columns="id"), insert("delete", columns="id"), {"event": "e"})
    some = wait(db, insert("update"), {"event": "e"}, any=True)
    late = wait(db, insert("update", timeout_ms=50))
    bad = wait(db, insert(table="nope"))
    assert wait_finished(db, late)[1][0]["error"]["code"] == "timeout"
    assert wait_finished(db, bad)[1][0]["error"] == {"code": "bad_change", "message": "there is no table public.nope"}
    suspended(db, one, every, some)
    asleep(db)
    db.execute("insert into users values (1, 'a')")
    db.execute("insert into users values (7, 'b')")
    assert wait_finished(db, one)[1] == [{"payload": payload(new={"id": 7})}]
    db.execute("delete from users where id = 1")
    suspended(db, every)
    value(db, "select pgconductor.emit('e', '1'::text)")
    assert wait_finished(db, every)[1] == [{"payload": payload(new={"id": 1})}, {"payload": payload({"id": 1})}, {"payload": 1}]
    assert wait_finished(db, some)[1] == [None, {"payload": 1}]


def test_what_changes_right_after_the_suspend(serve, db, connect):
    """Each waits for a table that has no trigger yet, and that is written to as soon as the execution is shown as suspended."""
    tables = [f"t{n}" for n in range(12)]
    for table in tables:
        db.execute(f"create table {table} (id int)")
    serve()
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name = 'wait'"), 20, "it is declared")
    ids = [wait(db, insert(table=t)) for t in tables]

    def follow(conn, execution, table):
        wait_for(lambda: value(conn, "select count(*) from pgconductor.executions_all where id = %s and state = 'suspended'", execution),
                 60, "it waits", poll=0.001)
        conn.execute(f"insert into {table} values (1)")
    threads = [threading.Thread(target=follow, args=(connect(), i, t)) for i, t in zip(ids, tables)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i, t in zip(ids, tables):
        assert wait_finished(db, i)[1] == [{"payload": payload(new={"id": 1}, table=t)}]


def test_a_locked_table_holds_up_nothing_else(serve, db, connect, users):
    """An execution is suspended once its trigger is there; should its node be killed before, another run waits for it."""
    node = serve()
    db.execute("create table other (id int)")
    with connect(autocommit=False) as conn:
        conn.execute("insert into users values (1)")
        first = wait(db, insert(columns="id"))
        wait_for(lambda: value(db, "select count(*) from pgconductor.watches where tried_at is not null"), 20, "it was tried")
        second = wait(db, insert(table="other"))
        suspended(db, second)
        assert value(db, "select state from pgconductor.executions_all where id = %s", first) != "suspended"
        node.kill9()
        serve()
        db.execute("insert into other values (1)")
        wait_finished(db, second)
        conn.commit()
    suspended(db, first)
    db.execute("insert into users values (2)")
    assert wait_finished(db, first)[1] == [{"payload": payload(new={"id": 2})}]


def test_dropped_when_nobody_waits_any_more(serve, db, users):
    serve(more='poll_interval = "100ms"\nkeep_triggers = "300ms"\n')
    waits = wait(db, insert(columns="id"))
    suspended(db, waits)
    before = triggers(db)
    made_at = value(db, "select pgconductor.now()")
    wait_for(lambda: value(db, "select pgconductor.now() - %s > '1 second'", made_at), 20, "the time has passed")
    assert triggers(db) == before
    db.execute("insert into users values (1)")
    wait_finished(db, waits)
    made(db, 0)
    wait_for(lambda: value(db, "select count(*) from pgconductor.watches") == 0, 10, "it is forgotten")


def test_a_script_waits(server, db, short_tmp, users):
    """ctx wait: for a table, for all of several events, and for the first of several, which stays the first."""
    script = f"{short_tmp}/flow.sh"
    with open(script, "w", encoding="utf-8") as file:
        file.write("""#!/bin/bash
set -e
change=$(pgconductor ctx wait --table users --operation insert --columns id --when 'new.id > 1')
first=$(pgconductor ctx wait first --any --event b --event a)
all=$(pgconductor ctx wait --event a --event b --table users --operation delete --columns id)
again=$(pgconductor ctx wait second --any --event c --table users --operation update --columns id)
pgconductor ctx wait --table nope --operation insert || status=$?
printf '[%s, "%s", [%s], "%s", %d]' "$change" "${first/ /:}" "${all//$'\\n'/,}" "${again%% *}" $status
""")
    os.chmod(script, 0o755)
    os.chmod(short_tmp, 0o755)
    server(config=f'queue "default" {{ concurrency = 4 env = {{ "PATH={paths.BUILD}:{os.environ["PATH"]}" }} }}\n'
                  f'task "flow" {{ exec = "{script}" max_attempts = 1 }}\n')
    wait_for(lambda: value(db, "select count(*) from pgconductor.tasks where name = 'flow'"), 20, "it is declared")
    flow = value(db, "select pgconductor.invoke('flow')")

    def waits_for(n):
        wait_for(lambda: value(db, "select count(*) from pgconductor.steps where execution = %s and due_at is not null", flow) == n,
                 20, f"it waits for {n}")
        suspended(db, flow)
    waits_for(1)
    db.execute("insert into users values (1), (2)")
    waits_for(2)
    value(db, "select pgconductor.emit('a', '1'::text)")
    waits_for(4)
    for event in ("b", "a", "b"):
        value(db, "select pgconductor.emit(%s, '\"x\"'::text)", event)
    db.execute("delete from users where id = 1")
    waits_for(2)
    db.execute("update users set email = 'x'")
    result = wait_finished(db, flow, timeout=20)
    assert result[1] == [payload(new={"id": 2}), "a:1", ["x", "x", payload({"id": 1})], "public.users.update", 65]
