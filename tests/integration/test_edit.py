"""edit and move against nodes that hand out, and die: each execution runs once, as it was or as it was changed to."""

import json
import random
import threading
import time

import psycopg
import pytest

from support import paths
from support.engine import asleep, blocker, has_polled, invoke, unfinished, value, wait_empty, wait_finished
from support.wait import wait_for


def entries(app):
    """What each execution ran with: {id: [payload, …]}."""
    ran = {}
    for e in app.runs():
        ran.setdefault(e.id, []).append(e.rest.split(" ", 1)[1])
    return ran


def two_queues(app, **options):
    """The program serves its tasks in another queue than their own, too."""
    more = (f'handler "twin" {{ command = "env PGCONDUCTOR_QUEUE= {app.command("seen")}" }}\n'
            'queue "other" { handler = "twin" concurrency = 100 }')
    return app.config("seen", **options, more=more)


def test_before_a_node_comes(server, app, db):
    """Also when it finds the change with the run: a node that died left the shards to nobody."""
    one = server(config=app.config("seen"))
    asleep(db)
    one.pause()
    made = invoke(db, payload="1")
    assert value(db, "select pgconductor.edit(%s, '2')", made)
    assert value(db, "select count(*) from pgconductor.wakes") == 1
    one.kill9()
    server(config=app.config("seen"))
    wait_empty(db)
    assert entries(app) == {made: ["2"]}


def test_of_what_is_buffered_and_of_what_is_not_read(server, app, db):
    """A node has read the first ones and holds them ready; most it has not read."""
    server(config=app.config(concurrency=1, queue="fetch_batch = 10"))
    block = blocker(db, app)
    ids = value(db, "select pgconductor.invoke_batch('seen', (select json_agg('{\"payload\": 1}'::json) from generate_series(1, 300)))")
    has_polled(db)
    rest = ids[::3]
    for execution in rest:
        assert value(db, "select pgconductor.edit(%s, '2')", execution)
    # Of those the last one first.
    assert value(db, "select pgconductor.edit(%s, priority => 9)", rest[-1])

    def changed():
        return value(db, "select count(*) from pgconductor.executions where payload::text = '2'") == len(rest) and \
            value(db, "select priority from pgconductor.executions where id = %s", rest[-1]) == 9
    wait_for(changed, 15, "they are changed")
    assert value(db, "select pgconductor.move(%s, 'nowhere')", ids[1])
    wait_for(lambda: value(db, "select queue from pgconductor.executions where id = %s", ids[1]) == "nowhere", 10, "it is moved")
    app.release()
    wait_for(lambda: unfinished(db) == 1, 20, "the others have run")
    ran = entries(app)
    assert ran.pop(block) and ran == {i: ["2" if i in rest else "1"] for i in ids if i != ids[1]}
    order = [e.id for e in app.runs()]
    assert order[1] == rest[-1]


def test_of_one_that_runs(server, app, db):
    """It ends as what it was."""
    server(config=app.config())
    made = invoke(db, "hold", '"a"')
    wait_for(lambda: app.runs(made), 10, "it runs")
    # Before it is known to run, and afterwards.
    value(db, "select pgconductor.edit(%s, '\"b\"')", made)
    wait_for(lambda: value(db, "select count(*) from pgconductor.running where id = %s", made), 10, "it is known to run")
    assert not value(db, "select pgconductor.edit(%s, '\"b\"')", made)
    assert not value(db, "select pgconductor.move(%s, 'other')", made)
    app.release()
    wait_finished(db, made)
    assert entries(app) == {made: ['"a"']}
    assert value(db, "select payload::text from pgconductor.finished_executions where id = %s", made) == '"a"'
    assert value(db, "select count(*) from pgconductor.wakes") == 0


class Editor(threading.Thread):
    """Changes executions as they become ready, and notes of each what it may run with."""

    def __init__(self, dsn, seed, n, queues=("default", "other")):
        super().__init__()
        self.dsn, self.dice, self.n, self.queues = dsn, random.Random(seed), n, queues
        self.may, self.failure = {}, None

    def run(self):
        try:
            with psycopg.connect(self.dsn, autocommit=True) as conn:
                for k in range(self.n):
                    self.one(conn, k)
        except Exception as e:  # pylint: disable=broad-except
            self.failure = e

    def one(self, conn, k):
        payload = json.dumps([k, 0])
        delay = self.dice.choice((0, 0, 1, 3, 10))
        made = invoke(conn, "seen", payload, priority=self.dice.choice((0, 0, 5)), **({"delay": f"{delay} ms"} if delay else {}))
        self.may[made] = [payload]
        for n in range(1, self.dice.choice((2, 2, 3))):
            what = self.dice.choice(("edit", "edit", "move", "both", "later"))
            if what == "move":
                conn.execute("select pgconductor.move(%s, %s)", (made, self.dice.choice(self.queues)))
                continue
            changed = json.dumps([k, n])
            with conn.transaction():
                done = conn.execute("select pgconductor.edit(%s, %s, priority => %s, run_at => clock_timestamp() + %s * interval '1 ms')",
                                    (made, changed, n, 30 if what == "later" else 0)).fetchone()[0]
                # Its time may come before the commit.
                if delay and self.dice.random() < 0.5:
                    time.sleep(self.dice.random() * 0.01)
            if done:
                self.may[made].append(changed)
            if what == "both":
                conn.execute("select pgconductor.move(%s, %s)", (made, self.dice.choice(self.queues)))


def race(dsn, seed, n, meanwhile=lambda: None):
    editors = [Editor(dsn, f"{seed} {i}", n) for i in range(3)]
    for e in editors:
        e.start()
    meanwhile()
    for e in editors:
        e.join(120)
        assert e.failure is None, e.failure
    return {k: v for e in editors for k, v in e.may.items()}


def check(db, may, ran, twice_ok=False):
    assert set(ran) == set(may), (sorted(set(may) - set(ran))[:5], sorted(set(ran) - set(may))[:5])
    for execution, seen in ran.items():
        assert len(seen) == 1 or twice_ok, (execution, seen)
        assert set(seen) <= set(may[execution]), (execution, seen, may[execution])
    # What it ran with last is what is told of it.
    for execution, payload in db.execute("select id, payload::text from pgconductor.finished_executions").fetchall():
        assert ran[execution][-1] == payload
    changed = sum(seen[-1] != may[execution][0] for execution, seen in ran.items())
    assert changed, "no change came in time"


def test_against_handing_out(server, app, db, dsn, seed, scale):
    """Two nodes, while clients change what they have just made."""
    for _ in range(2):
        server(config=two_queues(app))
    may = race(dsn, seed, scale(150, 3000))
    wait_empty(db, 60)
    check(db, may, entries(app))
    assert value(db, "select count(*) from pgconductor.wakes") == 0


def test_nodes_die_meanwhile(server, app, db, dsn, seed, scale):
    """What a killed node was running runs again, by all means; and nothing is lost."""
    nodes = [server(config=two_queues(app, top='takeover_timeout = "2s"')) for _ in range(2)]

    def kill():
        for n in range(scale(2, 20)):
            seen = len(app.runs())
            wait_for(lambda: len(app.runs()) > seen + 10 or unfinished(db) == 0, 30, "some have run")
            nodes[n % 2].kill9()
            nodes[n % 2] = server(config=two_queues(app, top='takeover_timeout = "2s"'))
    may = race(dsn, seed, scale(150, 3000), kill)
    wait_empty(db, 60)
    check(db, may, entries(app), twice_ok=True)


def test_events_and_children_carry_a_trace(server, db, short_tmp, dsn):
    """From invoke to a command, to its child, and through an event to what that starts."""
    log = f"{short_tmp}/seen"
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    note = f"echo $PGCONDUCTOR_TASK=$PGCONDUCTOR_TRACEPARENT >> {log}"
    with open(f"{short_tmp}/root.sh", "w", encoding="utf-8") as file:
        file.write(f"set -e\n{note}\n\"$PGC\" ctx invoke child 1 --key c >/dev/null\n\"$PGC\" ctx start child 2\n\"$PGC\" ctx emit happened 3 >/dev/null\n")
    config = f'''
task "root" {{ exec = "sh {short_tmp}/root.sh" }}
task "child" {{ exec = "{note}" }}
task "after" {{ exec = "{note}"  trigger {{ event = "happened" }} }}
queue "default" {{ env = {{ "PGC={paths.PGCONDUCTOR}" }} }}
'''
    server(config=config)
    metadata = json.dumps({"tenant": "t1", "nested": {"traceparent": "no"}, "traceparent": parent})
    made = invoke(db, "root", "null", metadata=metadata)
    wait_finished(db, made)
    wait_empty(db)
    wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions") == 4, 20, "all have run")
    with open(log, encoding="utf-8") as file:
        lines = sorted(set(file.read().split()))
    assert lines == [f"after={parent}", f"child={parent}", f"root={parent}"]
    assert value(db, "select count(*) from pgconductor.finished_executions where metadata ->> 'tenant' = 't1'") == 4


@pytest.mark.parametrize("metadata", ['{"traceparent": "00-abc"}', '{"traceparent": 5}', '["traceparent"]', '{"a": {"traceparent": '
                                      '"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}'])
def test_what_is_no_traceparent_is_not_passed_on(server, db, metadata):
    server(config='task "t" { exec = "printenv PGCONDUCTOR_TRACEPARENT || echo none" }')
    made = invoke(db, "t", "null", metadata=metadata)
    assert wait_finished(db, made)[1] == "none"


# ---- the commands

@pytest.fixture
def waiting(db):
    """Ten delayed executions of two tasks, with metadata."""
    db.execute("select pgconductor.declare_task('a'), pgconductor.declare_task('b')")
    return [invoke(db, "ab"[n % 2], str(n), delay="1 hour", metadata=json.dumps({"tenant": f"t{n % 3}", "n": n, 'q"\\,{}': "x=y"}))
            for n in range(10)]


def test_commands_by_id(cli, db, waiting, short_tmp):
    with open(f"{short_tmp}/p.json", "w", encoding="utf-8") as file:
        file.write('{"from": "file"}')
    one, two = str(waiting[0]), str(waiting[1])
    done = cli("edit", one, two, "--payload", f"@{short_tmp}/p.json", "--priority", "-4", "--set-metadata", '{"k": 1}', check=True)
    assert done.stdout == f"{one} changed\n{two} changed\n"
    assert db.execute("select payload::text, priority, metadata::text from pgconductor.executions where id = any (%s)",
                      (waiting[:2],)).fetchall() == [('{"from": "file"}', -4, '{"k": 1}')] * 2
    cli("edit", one, "--run-at", "2100-01-01 00:00+00", check=True)
    cli("edit", two, "--delay", "2h", check=True)
    assert value(db, "select run_at = '2100-01-01 00:00+00' from pgconductor.executions where id = %s", waiting[0])
    assert value(db, "select run_at between now() + interval '119 min' and now() + interval '2 h' from pgconductor.executions"
                     " where id = %s", waiting[1])
    assert cli("move", one, "--to", "far", check=True).stdout == f"{one} moved\n"
    done = cli("move", one, "987654", "--to", "far")
    assert (done.returncode, done.stdout) == (1, f"{one} moved\n") and "987654: there is no unfinished execution" in done.stderr


def test_commands_by_what_they_have_in_common(cli, db, waiting):
    assert cli("edit", "--task", "a", "--metadata", "tenant=t0", "--priority", "3", check=True).stdout == "2 changed\n"
    assert [i for i, in db.execute("select id from pgconductor.executions where priority = 3 order by id")] == [waiting[0], waiting[6]]
    assert cli("move", "--metadata", 'q"\\,{}=x=y', "--state", "delayed", "--to", "far", check=True).stdout == "10 moved\n"
    assert cli("cancel", "--metadata", "n=4", "--metadata", "tenant=t1", check=True).stdout == "1 cancelled\n"
    assert cli("retry", "--state", "cancelled", "--metadata", "n=4", check=True).stdout == "1 made ready\n"
    listed = [json.loads(line)["id"] for line in cli("list", "--metadata", "tenant=t2", "--json", check=True).stdout.splitlines()]
    assert sorted(map(int, listed)) == [waiting[2], waiting[5], waiting[8]]
    assert cli("list", "--metadata", "n=77", check=True).stdout == ""


@pytest.mark.parametrize("args, why", [
    (["edit", "1"], "what is to change is missing"),
    (["edit", "--priority", "1"], "ID is missing"),
    (["edit", "1", "--priority", "x"], "--priority: \"x\" is not a whole number"),
    (["edit", "1", "--run-at", "now", "--delay", "1s"], "give one of them"),
    (["edit", "1", "--delay", "soon"], "not a duration"),
    (["edit", "1", "--task", "a", "--priority", "1"], "not both"),
    (["edit", "--task", "a", "--state", "running", "--priority", "1"], "--state"),
    (["move", "1"], "--to is missing"),
    (["list", "--metadata", "x"], "--metadata: \"x\" is not of the form K=V"),
    (["list", "--group", "task"], "--group"),
    (["list", "--failed", "--state", "ready"], "give one of them"),
    (["pause"], "queue, task or schedule is missing"),
    (["pause", "node", "1"], "not what can be paused"),
    (["resume", "task"], "NAME of the task is missing"),
])
def test_commands_refuse(cli, db, args, why):
    done = cli(*args)
    assert done.returncode == 64 and why in done.stderr, done.stderr


def test_failed_ones(cli, server, db):
    """Listed by kind of error, run again or discarded."""
    server(config='task "t" { exec = "read n; echo no $n >&2; exit 65" }\ntask "u" { exec = "echo never >&2; exit 65" }')
    made = [invoke(db, "t", n) for n in ("1", "1", "2")] + [invoke(db, "u", "1")]
    wait_for(lambda: value(db, "select count(*) from pgconductor.finished_executions") == 4, 20, "all have failed")
    groups = [json.loads(line) for line in cli("list", "--failed", "--group", "error", "--json", check=True).stdout.splitlines()]
    assert sorted((g["task"], g["count"]) for g in groups) == [("t", 3), ("u", 1)]
    # They differ in numbers alone, that of the process among them.
    assert groups[0]["count"] == 3 and "no " in groups[0]["error"]["message"] and groups[0]["first_at"] <= groups[0]["last_at"]
    table = cli("list", "--failed", "--group", "error", "--task", "t", check=True).stdout
    assert table.splitlines()[0].split() == ["task", "count", "first", "last", "error"] and "no " in table and "never" not in table
    assert cli("discard", "--task", "t", "--error", "NO 1", check=True).stdout == "2 discarded\n"
    done = cli("discard", str(made[0]), str(made[3]))
    assert (done.returncode, done.stdout) == (1, f"{made[3]} discarded\n") and f"{made[0]}: there is no failed execution" in done.stderr
    assert len(cli("list", "--failed", "--json", check=True).stdout.splitlines()) == 1
    assert len(cli("list", "--failed", "--discarded", "--json", check=True).stdout.splitlines()) == 4
    # What was discarded is not run again with the others.
    assert cli("retry", "--task", "t", check=True).stdout == "1 made ready\n"
    assert "discarded" in cli("show", str(made[0]), check=True).stdout
