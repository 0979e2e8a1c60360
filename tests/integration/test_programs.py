"""Registration: what programs and configurations declare, version after version, and what becomes of what is left out."""

import json
import shlex
import sys

import psycopg
import pytest

from support import paths
from support.server import run_cli
from support.sqlnode import Node as EngineNode
from support.sqlnode import one

PROGRAM = shlex.join([sys.executable, f"{paths.SRC}/tests/support/said_handler.py"])
DAILY = {"cron": "0 9 * * *", "name": "daily"}
WEEKLY = {"cron": "@weekly", "name": "weekly"}
INVOCABLE = {"invocable": True}


# ---- SQL: nodes that say something ----

class Node:
    """A node as the database sees it: a session that holds its lock."""

    def __init__(self, connect, place=None):
        self.db = connect()
        self.place = place
        self.id = one(self.db, "select node_id from pgconductor.attach_node(null, 'host', 1, 'x')")[0]

    def say(self, said, wholes=(), known=True):
        """said: {(source, queue): {task: triggers, or (triggers, options)}}; returns what is complained about."""
        return say(self.db, said, self.id, self.place, wholes, known)

    def leave(self):
        self.db.execute("select pgconductor.tend(%s, true)", (self.id,))
        self.db.close()


def say(db, said, node=None, place=None, wholes=(), known=True):
    rows = [(n, task, *(what if isinstance(what, tuple) else (what, {}))) for n, tasks in enumerate(said.values(), 1)
            for task, what in tasks.items()]
    return db.execute("select source, task, message from pgconductor.register(%s::int, %s::text, %s::text[], %s::text[], %s::text[],"
                      " %s::boolean[], %s::int[], %s::text[], %s::text[], %s::json[], %s::json[])",
                      (node, place, list(wholes), [s for s, _ in said], [q for _, q in said], [known] * len(said),
                       [r[0] for r in rows], [r[1] for r in rows], [None] * len(rows), [json.dumps(r[3]) for r in rows],
                       [None if r[2] is None else json.dumps(r[2]) for r in rows])).fetchall()


@pytest.fixture
def node(connect):
    return lambda place=None: Node(connect, place)


def tasks(db):
    """{task: its sources, or "retired"}."""
    return {name: "retired" if retired else sorted(sources) for name, sources, retired in
            db.execute("select name, sources, retired_at is not null from pgconductor.tasks order by name")}


def schedules(db):
    return [f"{task}/{name}" + (f" {cron}" if name == "x" else "") for task, name, cron in
            db.execute("select task, name, cron from pgconductor.schedules order by 1, 2")]


def events(db):
    return [f"{task}/{key}" for task, key in db.execute("select task, key from pgconductor.subscriptions order by 1, 2")]


def rows(db):
    """What would show that something was written, or made anew."""
    return db.execute("select xmin::text, ctid::text, name from pgconductor.tasks union all"
                      " select xmin::text, ctid::text, name from pgconductor.schedules union all"
                      " select xmin::text, ctid::text, key from pgconductor.subscriptions union all"
                      " select xmin::text, ctid::text, digest from pgconductor.versions order by 1, 2, 3").fetchall()


APP = ("code:app", "default")


def test_the_next_version(db, node):
    """The new version counts as soon as it is there, and nothing is dropped while a node runs the old one."""
    old, new = node(), node()
    old_said = {APP: {"both": ([DAILY, INVOCABLE], {"max_attempts": 5}), "gone": [WEEKLY, {"event": "e"}]}}
    new_said = {APP: {"both": ([WEEKLY, INVOCABLE], {"max_attempts": 7}), "fresh": None}}
    assert old.say(old_said) == []
    assert schedules(db) == ["both/daily", "gone/weekly"]
    waiting = db.execute("insert into pgconductor.executions (created_at, run_at, shard, queue, task, payload)"
                         " select now(), now(), shard_ids[1], queue, name, '1' from pgconductor.tasks where name = 'gone' returning id"
                         ).fetchone()[0]
    new.say(new_said)
    assert schedules(db) == ["both/weekly", "gone/weekly"] and events(db) == ["gone/e"]
    assert one(db, "select max_attempts from pgconductor.tasks where name = 'both'") == (7,)
    # The old node says it again and again, as do all nodes, and nothing comes of it.
    before = rows(db)
    for _ in range(3):
        old.say(old_said)
        new.say(new_said)
        db.execute("select pgconductor.tend(%s), pgconductor.tend(%s)", (old.id, new.id))
    assert rows(db) == before
    old.leave()
    assert tasks(db) == {"both": ["code:app"], "fresh": ["code:app"], "gone": "retired"}
    assert schedules(db) == ["both/weekly"] and events(db) == []
    assert one(db, "select attempt, ready_xid is not null from pgconductor.executions where id = %s", waiting) == (0, True)
    # The last one goes: that is a stop, and no version.
    new.leave()
    assert schedules(db) == ["both/weekly"] and tasks(db)["fresh"] == ["code:app"]


def test_back_to_the_old_version(db, node):
    first, second = node(), node()
    first.say({APP: {"a": [DAILY], "b": [DAILY]}})
    second.say({APP: {"a": [WEEKLY]}})
    # Another node with the old version, and then the new one is taken back.
    third = node()
    third.say({APP: {"a": [DAILY], "b": [DAILY]}})
    assert schedules(db) == ["a/weekly", "b/daily"]
    second.leave()
    assert schedules(db) == ["a/daily", "b/daily"]
    first.leave()
    third.leave()
    # Alone, whatever is started is what counts.
    fourth = node()
    fourth.say({APP: {"a": [WEEKLY]}})
    assert schedules(db) == ["a/weekly"] and tasks(db)["b"] == "retired"
    fifth = node()
    fifth.say({APP: {"a": [DAILY], "b": [DAILY]}})
    assert schedules(db) == ["a/daily", "b/daily"] and tasks(db)["b"] == ["code:app"]


def test_a_node_that_is_cut_off_comes_back(db, node, connect):
    """PostgreSQL was started anew, say: the node with the old version is not the first one to come back."""
    old, new = node(), node()
    old.say({APP: {"a": [DAILY]}})
    new.say({APP: {"b": [DAILY]}})
    old.db.close()
    db.execute("select pgconductor.tend(%s)", (new.id,))
    assert schedules(db) == ["a/daily", "b/daily"]
    db.execute("select pgconductor.fake_now(pgconductor.now() + interval '2 minutes')")
    db.execute("select pgconductor.tend(%s)", (new.id,))
    assert schedules(db) == ["b/daily"] and tasks(db)["a"] == "retired"


def test_what_is_not_known_yet(db, node):
    """A node whose programs are being replaced has not said yet what the new ones have."""
    a, b = node(), node()
    a.say({APP: {"a": [DAILY]}})
    b.say({APP: {"b": [DAILY]}})
    a.say({APP: {}}, known=False)
    assert schedules(db) == ["a/daily", "b/daily"]
    a.say({APP: {"b": [DAILY]}})
    assert schedules(db) == ["b/daily"]


def test_queues_are_kept_apart(db, node):
    """Nodes that serve different queues of a program say nothing of each other's; one that was asked for all does."""
    web, mail = ("code:app", "web"), ("code:app", "mail")
    a, b = node(), node()
    a.say({web: {"a": [DAILY]}})
    b.say({mail: {"b": [DAILY]}})
    a.leave()
    c = node()
    c.say({web: {"a": [DAILY]}})
    assert schedules(db) == ["a/daily", "b/daily"]
    d = node()
    d.say({web: {"a": [DAILY]}}, wholes=["code:app"])
    assert schedules(db) == ["a/daily", "b/daily"]
    b.leave()
    assert schedules(db) == ["a/daily"] and tasks(db)["b"] == "retired"
    assert one(db, "select count(*) from pgconductor.versions where queue = 'mail'") == (0,)
    # From one queue to another.
    e = node()
    e.say({web: {}, mail: {"a": [DAILY]}})
    for other in (c, d):
        other.leave()
    assert schedules(db) == ["a/daily"]


def test_a_configuration(db, node):
    """What is taken out of it goes, also with its queue; that of another place stays."""
    first, other = node("h1:/etc/a.conf"), node("h2:/etc/a.conf")
    first.say({("config", "default"): {"a": [DAILY], "b": [DAILY]}, ("config", "media"): {"m": [DAILY]}})
    other.say({("config", "web"): {"w": [DAILY]}})
    first.leave()
    second = node("h1:/etc/a.conf")
    second.say({("config", "default"): {"a": [DAILY]}})
    assert schedules(db) == ["a/daily", "w/daily"]
    second.say({})
    assert schedules(db) == ["w/daily"]


def test_two_programs(db, node):
    """Each keeps its own; of a task that both have, each its own triggers; of one name the last program's counts."""
    a = node()
    mail, media = ("code:mail", "default"), ("code:media", "default")
    a.say({mail: {"m": [DAILY], "x": [DAILY, {"event": "e"}]}, media: {"n": [DAILY], "x": [WEEKLY, {"event": "f"}]}})
    assert schedules(db) == ["m/daily", "n/daily", "x/daily", "x/weekly"] and events(db) == ["x/e", "x/f"]
    a.say({mail: {"m": [DAILY]}, media: {"n": [DAILY], "x": [WEEKLY, {"event": "f"}]}})
    assert schedules(db) == ["m/daily", "n/daily", "x/weekly"] and events(db) == ["x/f"]
    assert tasks(db)["x"] == ["code:media"]

    def same(cron):
        return [{"cron": cron, "name": "x"}]
    a.say({mail: {"x": same("1 1 * * *")}, media: {"x": same("2 2 * * *")}, ("config", ""): {"x": same("3 3 * * *")}})
    assert schedules(db) == ["x/x 3 3 * * *"]
    before = rows(db)
    a.say({mail: {"x": same("1 1 * * *")}, media: {"x": same("2 2 * * *")}, ("config", ""): {"x": same("3 3 * * *")}})
    assert rows(db) == before
    a.say({mail: {"x": same("1 1 * * *")}, media: {"x": same("2 2 * * *")}, ("config", ""): {"x": None}})
    assert schedules(db) == ["x/x 2 2 * * *"]
    a.say({mail: {"x": same("1 1 * * *")}, media: {"x": None}})
    assert schedules(db) == ["x/x 1 1 * * *"]


def test_one_event_starts_a_task_once(db, node, connect):
    """Though two programs, as one that was given another name, and the configuration subscribe it in the same way."""
    def made():
        db.execute("select pgconductor.emit('e', '{\"a\": 1}')")
        worker.dispatch_all()
        return [list(r[0]) for r in db.execute("delete from pgconductor.executions returning payload").fetchall()]
    worker = EngineNode(connect).serve(queues=[])
    event, some = {"event": "e", "fields": "a,b", "when": "true"}, {"event": "e", "fields": "a"}
    old, new = node(), node()
    old.say({("code:old", "default"): {"x": [event]}, ("config", ""): {"x": [event]}})
    assert len(made()) == 1
    new.say({("code:new", "default"): {"x": [event, some]}})
    assert len(made()) == 2
    db.execute("select pgconductor.undeclare('code:old', 'x')")
    db.execute("select pgconductor.undeclare('config', 'x')")
    assert len(made()) == 2
    db.execute("select pgconductor.undeclare('code:new', 'x')")
    assert made() == []


def test_what_is_wrong_is_told(db, node):
    """The others are declared all the same, and a task whose triggers are none is one."""
    a = node()
    assert a.say({APP: {"bad name": None, "cron": [DAILY, {"cron": "x"}], "good": [DAILY],
                        "odd": (None, {"max_attempts": 0})}}) == [
        ("code:app", "bad name", "name: 'bad name' is not a task's name"),
        ("code:app", "cron", "triggers[1]: cron: 'x': 5 fields are needed, or 6 with seconds"),
        ("code:app", "odd", "options: max_attempts: not a whole number from 1 on"),
        ("code:app", "odd", "task: 'odd' was never declared")][:3]
    assert tasks(db) == {"cron": ["code:app"], "good": ["code:app"]} and schedules(db) == ["good/daily"]


def test_retiring_by_hand(db, node):
    """Whatever runs; the nodes that run do not bring it back, one that is started does."""
    a = node()
    said = {APP: {"a": [DAILY, {"event": "e"}], "b": [DAILY]}}
    a.say(said)
    db.execute("select pgconductor.declare_task('a')")
    db.execute("select pgconductor.schedule('a', 'mine', '@daily')")
    assert db.execute("select * from pgconductor.retire('none')").fetchall() == []
    assert one(db, "select waiting, schedules, nodes from pgconductor.retire('a')") == (0, 1, [])
    assert schedules(db) == ["a/mine", "b/daily"] and events(db) == [] and tasks(db) == {"a": "retired", "b": ["code:app"]}
    a.say(said)
    db.execute("select pgconductor.tend(%s)", (a.id,))
    assert tasks(db)["a"] == "retired"
    b = node()
    b.say(said)
    assert tasks(db)["a"] == ["code:app"] and schedules(db) == ["a/daily", "a/mine", "b/daily"]


def test_registered_by_hand(db, node):
    """It is the latest word, until a node says something newer, or says it too and is gone."""
    a = node()
    a.say({APP: {"a": [DAILY], "b": [DAILY]}})
    say(db, {APP: {"a": [WEEKLY]}}, wholes=["code:app"])
    assert schedules(db) == ["a/weekly", "b/daily"]
    a.say({APP: {"a": [DAILY], "b": [DAILY]}})
    db.execute("select pgconductor.tend(%s)", (a.id,))
    assert schedules(db) == ["a/weekly", "b/daily"]
    b = node()
    b.say({APP: {"a": [WEEKLY]}})
    a.leave()
    assert schedules(db) == ["a/weekly"]
    say(db, {APP: {"a": [DAILY]}})
    say(db, {APP: {"a": [WEEKLY]}})
    say(db, {APP: {"a": [DAILY]}})
    assert schedules(db) == ["a/daily"]
    b.leave()
    assert schedules(db) == ["a/daily"] and one(db, "select count(*) from pgconductor.versions") == (1,)


def not_invocable(db, statement, task):
    with pytest.raises(psycopg.Error, match=f"'{task}' cannot be invoked: it is started by its triggers only") as caught:
        db.execute(statement.format(task))
    assert caught.value.sqlstate == "PC014"


def test_invocable(db, node):
    """A task whose programs, and configuration, name triggers and not that one is started by these alone."""
    allowed = [{"code:app": None}, {"code:app": []}, {"code:app": [DAILY, INVOCABLE]}, {"code:app": INVOCABLE}, {"config": None},
               {"code:app": [DAILY], "code:b": None}, {"code:app": [DAILY], "config": [INVOCABLE]}, {"code:app": None, "config": [DAILY]}]
    refused = [{"code:app": [DAILY]}, {"code:app": {"event": "e"}}, {"code:app": [{"invocable": False}]}, {"config": [DAILY]},
               {"code:app": [DAILY], "code:b": [WEEKLY]}, {"code:app": [DAILY], "config": None}]
    said = {}
    for n, case in enumerate(allowed + refused):
        for source, triggers in case.items():
            said.setdefault((source, "default"), {})[f"t{n}"] = triggers
        # What a client says of it counts for nothing here.
        db.execute("select pgconductor.declare_task(%s, 'media')", (f"t{n}",))
    assert node().say(said) == []
    for n in range(len(allowed)):
        one(db, "select pgconductor.invoke(%s)", f"t{n}")
    assert one(db, "select count(*) from pgconductor.executions") == (len(allowed),)
    for task in (f"t{n}" for n in range(len(allowed), len(allowed + refused))):
        not_invocable(db, "select pgconductor.invoke('{}')", task)
    for arguments in ("invoke('{}', delay => '1 day')", "invoke('{}', queue => 'other')", "invoke_batch('{}', '[{{}}]')",
                      "invoke_batch('{}', '[]')", "invoke_batch('{}', '[{{\"payload\": 1, \"priority\": 5}}]')"):
        not_invocable(db, f"select pgconductor.{arguments}", f"t{len(allowed)}")
    one(db, "select pgconductor.schedule(%s, 'mine', '@daily')", f"t{len(allowed)}")
    assert one(db, "select count(*) from pgconductor.executions") == (len(allowed),)


def test_children_that_cannot_be_invoked(db, node, connect):
    """The parent is told, and calls of a handler are refused as anybody's are."""
    db.execute("select pgconductor.declare_task('parent')")
    node().say({APP: {"only": [DAILY], "child": None}})
    worker = EngineNode(connect).serve("default/parent")
    worker.settle_in()
    parent = one(db, "select pgconductor.invoke('parent')")[0]
    worker.suspend((worker.run_of(parent), [{"key": "a", "task": "only"}, {"key": "b", "task": "child"}]))
    errors = dict(db.execute("select key, error ->> 'code' from pgconductor.steps where execution = %s", (parent,)).fetchall())
    assert errors == {"a": "not_invocable", "b": None}
    assert db.execute("select task from pgconductor.executions where parent = %s", (parent,)).fetchall() == [("child",)]


# ---- servers ----

@pytest.fixture
def serve(server, ledger, short_tmp):
    """serve(version, {task: {…}}, name="app", top="", more=""): a node that runs this version of a program."""
    def start(version, said, name="app", top="", more="", queue="default", **options):
        env = {"LEDGER": ledger.path, "VERSION": version, "SAID": said if isinstance(said, str) else json.dumps(said),
               "HOLD": f"{short_tmp}/release"}
        pairs = ", ".join(json.dumps(f"{k}={v}") for k, v in env.items())
        return server(config=f'takeover_timeout = 3s\n{top}\nhandler "{name}" {{ command = {json.dumps(PROGRAM)} env = {{ {pairs} }} }}\n'
                             f'queue "{queue}" {{ handler = "{name}" }}\n{more}\n', **options)
    return start


def state(db, execution):
    return db.execute("select state, waiting, attempt from pgconductor.executions_all where id = %s", (execution,)).fetchone()


def ran(ledger, execution):
    return [e.rest for e in ledger.entries("run", execution)]


def invoke(db, task, payload=None):
    return one(db, "select pgconductor.invoke(%s, %s)", task, json.dumps(payload))[0]


def test_a_rolling_deploy(serve, db, ledger, cli, wait_for):
    """Two nodes with two versions: each task runs where it is known, nothing flaps, and what is left out is retired in the end."""
    old = serve("1", {"both": {"triggers": [DAILY, INVOCABLE]}, "gone": {"triggers": [WEEKLY, INVOCABLE]}})
    new = serve("2", {"both": {"triggers": [WEEKLY, INVOCABLE]}, "fresh": {}})
    wait_for(lambda: schedules(db) == ["both/weekly", "gone/weekly"], 15, "the new version's schedules")
    made = [invoke(db, task) for task in ("both", "gone", "fresh") for _ in range(8)]
    wait_for(lambda: all(state(db, e)[0] == "completed" for e in made), 20, "all of them ran")
    assert {r for e in made[8:16] for r in ran(ledger, e)} == {"1 gone"}
    assert {r for e in made[16:] for r in ran(ledger, e)} == {"2 fresh"}

    # Cut off, both say it all again.
    before = rows(db)
    for _ in range(3):
        cut = {pid for pid, in db.execute("select pg_terminate_backend(pid), pid from pg_stat_activity"
                                          " where datname = current_database() and application_name = 'pgconductor control'").fetchall()
               and db.execute("select pid from pg_stat_activity where datname = current_database()"
                              " and application_name = 'pgconductor control'").fetchall()}
        wait_for(lambda: db.execute("select count(*) from pg_stat_activity where datname = current_database() and not pid = any (%s)"
                                    " and application_name = 'pgconductor control' and state = 'idle'", (list(cut),)).fetchone() == (2,),
                 15, "both are connected again")
    assert rows(db) == before

    old.stop()
    wait_for(lambda: tasks(db)["gone"] == "retired", 15, "it is retired")
    assert schedules(db) == ["both/weekly"]
    waits = invoke(db, "gone")
    wait_for(lambda: state(db, waits) == ("ready", "unserved", 0), 15, "it waits")
    shown = {line.split()[0]: line for line in cli("tasks", check=True).stdout.splitlines()}
    assert "retired" in shown["gone"] and "served" in shown["fresh"] and "app" in shown["fresh"]
    # Taken back.
    serve("3", {"both": {}, "gone": {}})
    wait_for(lambda: state(db, waits)[0] == "completed", 15, "it runs")
    assert ran(ledger, waits) == ["3 gone"] and state(db, waits)[2] == 1
    new.stop()


def test_what_nobody_serves(serve, db, cli, ledger, wait_for):
    """It waits, is shown, and loses no attempt, whatever happens meanwhile."""
    db.execute("select pgconductor.declare_task('later', options => '{\"max_attempts\": 1}')")
    first = serve("1", {"other": {}})
    made = [invoke(db, "later") for _ in range(3)]
    wait_for(lambda: all(state(db, e) == ("ready", "unserved", 0) for e in made), 15, "they wait")
    first.kill9()
    serve("1", {"other": {}})
    wait_for(lambda: one(db, "select count(*) from pgconductor.shards where owner = (select max(id) from pgconductor.nodes)") == (4,),
             15, "the next node has the shards")
    assert all(state(db, e) == ("ready", "unserved", 0) for e in made)
    assert "unserved" in cli("show", str(made[0]), check=True).stdout
    line = [x for x in cli("tasks", check=True).stdout.splitlines() if x.startswith("later")][0]
    assert "unserved" in line
    assert json.loads(cli("tasks", "later", "--json", check=True).stdout)["state"] == "unserved"
    serve("2", {"later": {"options": {"max_attempts": 1}}}, name="another")
    wait_for(lambda: all(state(db, e) == ("completed", None, 1) for e in made), 15, "they ran")


def test_replaced_by_a_reload(serve, db, short_tmp, wait_for):
    """HUP: the program says something else, and the configuration has lost a trigger."""
    said = f"{short_tmp}/said"

    def write(text):
        with open(said, "w", encoding="ascii") as file:
            json.dump(text, file)
    write({"a": {"triggers": [DAILY]}, "b": {"triggers": [DAILY]}})
    more = 'task "c" { exec = "true"\n trigger { cron = "@hourly" name = "hour" }\n trigger { event = "e" when = "true" }\n}\n'
    one_server = serve("1", f"@{said}", more=more)
    wait_for(lambda: schedules(db) == ["a/daily", "b/daily", "c/hour"] and events(db) == ["c/e"], 15, "they are declared")
    not_c = "select pgconductor.invoke('c')"
    with pytest.raises(psycopg.Error, match="cannot be invoked"):
        db.execute(not_c)
    write({"a": {"triggers": [WEEKLY]}})
    with open(one_server.config_path, encoding="utf-8") as file:
        text = file.read()
    one_server.set_config(text.replace(more, 'task "c" { exec = "true" }\n'))
    one_server.hup()
    wait_for(lambda: schedules(db) == ["a/weekly"] and events(db) == [], 15, "what was said last")
    assert tasks(db) == {"a": ["code:app"], "b": "retired", "c": ["config"]}
    db.execute(not_c)
    one_server.set_config(text.replace(more, ""))
    one_server.hup()
    wait_for(lambda: tasks(db)["c"] == "retired", 15, "it is gone from the configuration")


def test_from_the_command_line(serve, db, cli, short_tmp, wait_for, ledger):
    """What can be invoked, what cannot, and what is taken out of service."""
    serve("1", {"a": {"triggers": [DAILY]}, "b": {"triggers": [INVOCABLE, {"event": "go"}]}})
    done = cli("invoke", "a")
    assert done.returncode == 65
    assert "pgconductor: invoke: task: 'a' cannot be invoked: it is started by its triggers only" in done.stderr
    assert cli("retire", "task", "none").returncode == 1 and cli("retire", "queue", "x").returncode == 64
    assert cli("retire", "task").returncode == 64
    out = cli("retire", "task", "a", check=True).stdout
    assert out.startswith("a retired\n") and "node 1" in out
    assert schedules(db) == [] and tasks(db)["a"] == "retired"
    listed = {t["task"]: t for t in map(json.loads, cli("tasks", "--json", check=True).stdout.splitlines())}
    assert listed["a"]["state"] == "retired" and listed["b"]["state"] == "served"
    assert listed["b"]["programs"] == ["app"] and listed["b"]["invocable"] and listed["b"]["triggers"] == ["invocable", "event go"]


def test_register(db, cli, short_tmp, ledger):
    """Tasks with their triggers, of the configuration and of its handlers; what is wrong is told, with its line."""
    config = f"{short_tmp}/pgconductor.conf"
    said = json.dumps({"a": {"triggers": [DAILY], "queue": "x"}, "b": {"triggers": [{"cron": "no"}]}})
    with open(config, "w", encoding="utf-8") as file:
        file.write(f'handler "app" {{ command = {json.dumps(PROGRAM)} env = {{ {json.dumps("SAID=" + said)}, "LEDGER=/dev/null" }} }}\n'
                   'queue "x" { handler = "app" }\n'
                   'task "c" {\n\texec = "true"\n\ttrigger { cron = "@daily" name = "day" timezone = "Mars/Olympus" }\n}\n'
                   'task "d" { exec = "true" trigger { event = "e" fields = "a,b.c" } trigger { invocable = true } }\n')
    done = cli("register", "-c", config)
    assert (done.returncode, done.stdout) == (65, "4 tasks declared\n")
    assert "code:app: task b: triggers[0]: cron: 'no': 5 fields are needed" in done.stderr
    assert f'{config}:3: task "c": triggers[0]: timezone: ' in done.stderr or f'{config}:5: task "c": ' in done.stderr
    assert tasks(db) == {"a": ["code:app"], "b": ["code:app"], "c": ["config"], "d": ["config"]}
    assert schedules(db) == ["a/daily"]
    assert db.execute("select fields from pgconductor.subscriptions").fetchall() == [(["a", "b.c"],)]
    one(db, "select pgconductor.invoke('d')")


# ---- the configuration ----

@pytest.mark.parametrize("trigger,line,reason", [
    ('trigger { }', 3, 'task "t": trigger: one of cron, event, table and invocable is needed'),
    ('trigger { cron = "0 9 32 * *" }', 3, "trigger: cron: day of month: '32': not between 1 and 31"),
    ('trigger {\n cron = "@fortnightly"\n}', 4, "trigger: cron: '@fortnightly': not one of @yearly"),
    ('trigger { cron = "@daily" event = "e" }', 3, "trigger: event does not go with cron, which makes it a schedule"),
    ('trigger { event = "e" timezone = "UTC" }', 3, "trigger: timezone does not go with event, which makes it an event"),
    ('trigger { cron = "@daily" overlap = "never" }', 3, 'trigger: overlap: "never" is neither allow nor skip'),
    ('trigger { cron = "@daily" catchup = "0" }', 3, 'trigger: catchup: "0" is neither skip, last, all nor a number from 1 to 1000'),
    ('trigger { cron = "@daily" payload = "{" }', 3, "trigger.payload: not JSON: "),
    ('trigger { table = "users" }', 3, "trigger: the operation on table users is missing: insert, update or delete"),
    ('trigger { table = "users" operation = "truncate" }', 3, 'trigger: operation: "truncate" is none of insert, update and delete'),
    ('trigger { invocable = "yes" }', 3, 'trigger.invocable: "yes" is neither true nor false'),
    ('trigger { invocable = true when = "true" }', 3, "trigger: when does not go with invocable, which makes it invoke"),
    ('trigger { evnt = "e" }', 3, 'unknown option "evnt" in a section trigger'),
    ('trigger { event = "e" event = "f" }', 3, "event is set twice, first in line 3"),
    ('trigger { cron = "@daily" }\ntrigger { cron = "@hourly" name = "@daily" }', 4,
     'task "t": trigger: the schedule "@daily" is there twice, first at ')])
def test_mistakes_in_triggers(short_tmp, trigger, line, reason):
    path = f"{short_tmp}/x.conf"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'task "t" {{\n\texec = "true"\n{trigger}\n}}\n')
    done = run_cli("check", "-c", path)
    assert done.returncode == 78, done.stdout
    assert f"{path}:{line}: " in done.stderr and reason in done.stderr


CRONS = ["* * * * *", "*/5 * * * * *", "0 9 * * mon-fri", "0 9 * * MON-SUN", "0 0 29 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *",
         "0 0 31 */2 *", "0 0 30 2 mon", "1-0 * * * *", "a * * * *", "jan * * * *", "* * * jan *", "* * * foo *", "*/0 * * * *",
         "*/60 * * * *", "*/59 * * * *", "0 0 * * 7", "0 0 * * 8", "0 0 * * fri-0", "0 0 * * 5-7", "0 0 * * 0-7", "", " ", "@daily",
         "@Daily", "@ daily", "@never", "1,2,3 * * * *", "1,,3 * * * *", "1-5/2 * * * *", "1-5/ * * * *", "1/2/3 * * * *",
         "00001 * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "  0\t9 * * *  ", "* * * * * * *", "5-x * * * *",
         "-5 * * * *", "* * */31 * *", "* * */30 * *", "0 0 31 feb */2", "sunday * * * *", "* * * * sunday"]


def test_expressions_are_judged_alike(db, short_tmp):
    """`check` says of each what PostgreSQL says of it."""
    path = f"{short_tmp}/x.conf"
    for cron in filter(str.strip, CRONS):
        why = None
        try:
            db.execute("select pgconductor.parse_cron('x', %s)", (cron,))
        except psycopg.Error as error:
            why = error.diag.message_primary.removeprefix("x: cron: ")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'task "t" {{ exec = "true" trigger {{ cron = "{cron}" }} }}\n')
        done = run_cli("check", "-c", path)
        told = done.stderr.split("trigger: cron: ")[1].strip() if done.returncode else None
        assert told == why, cron
