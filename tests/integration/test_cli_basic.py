"""The command line without a server: usage, help, check, migrate, and which database is meant."""

import os
import re
import subprocess

import psycopg
import pytest

from support import paths
from support.server import clean_environment, run_cli

COMMANDS = ["dev", "run", "check", "migrate", "register", "retire", "invoke", "emit", "cancel", "retry", "edit", "move",
            "discard", "schedule", "unschedule", "schedules", "pause", "resume", "set", "show", "logs", "list", "ps", "top", "queues",
            "tasks", "nodes", "ready", "conform", "gen", "new", "ctx", "completion"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_version_of_every_command(command):
    done = run_cli(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: pgconductor {command} ")
    assert run_cli("help", command).stdout == done.stdout
    assert re.fullmatch(r"pgconductor \d+\.\d+\.\d+\n", run_cli(command, "--version").stdout)


def test_help_lists_every_command():
    listed = re.findall(r"^  ([a-z]+) ", run_cli("--help").stdout, re.M)
    assert listed == COMMANDS


@pytest.mark.parametrize("argv, why", [
    ([], "usage: "),
    (["dance"], "pgconductor: dance: no such command"),
    (["list", "--colour"], "pgconductor: list: --colour: no such option"),
    (["list", "-x"], "pgconductor: list: -x: no such option"),
    (["list", "--limit"], "pgconductor: list: --limit: N is missing"),
    (["list", "--json=1"], "--json takes no value"),
    (["list", "--limit", "many"], "--limit: \"many\" is not a whole number"),
    (["list", "--state", "happy"], "\"happy\" is none of ready, delayed, suspended, running, completed, failed, cancelled"),
    (["list", "x"], "pgconductor: list: x: unexpected argument"),
    (["show"], "pgconductor: show: ID is missing"),
    (["show", "x"], "x: not an execution's id"),
    (["show", "99999999999999999999"], "not an execution's id"),
    (["invoke"], "pgconductor: invoke: TASK is missing"),
    (["invoke", "t", "1", "2"], "2: unexpected argument"),
    (["invoke", "t", "--timeout", "1s"], "--timeout goes with --wait"),
    (["invoke", "t", "1", "--batch", "f"], "--batch goes with neither"),
    (["cancel"], "ID is missing, or one of"),
    (["cancel", "1", "--task", "t"], "not both"),
    (["cancel", "--state", "failed"], "none of ready, delayed, suspended, running"),
    (["retry", "--state", "ready"], "none of failed, cancelled, completed"),
    (["run", "x"], "x: unexpected argument"),
    (["run", "--"], "the command is missing"),
    (["dev", "--db", "x"], "--db: no such option"),
])
def test_wrong_usage(argv, why):
    done = run_cli(*argv)
    assert done.returncode == 64
    assert done.stdout == ""
    assert why in done.stderr


def test_options_stand_anywhere_and_take_values_both_ways(cli, db):
    db.execute("select pgconductor.declare_task('t')")
    one = cli("invoke", "t", "--priority=3", "[1]", "--delay", "1h", check=True).stdout.strip()
    two = cli("invoke", "--", "t", "-5", check=True).stdout.strip()
    rows = db.execute("select id, priority, state, payload::text from pgconductor.executions_all order by id").fetchall()
    assert rows == [(int(one), 3, "delayed", "[1]"), (int(two), 0, "ready", "-5")]


def test_output_that_cannot_be_written():
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([paths.PGCONDUCTOR, "--help"], stdout=full, stderr=subprocess.PIPE, env=clean_environment())
    assert done.returncode == 74


# ---- check ----

def test_check(short_tmp):
    good, bad = f"{short_tmp}/good.conf", f"{short_tmp}/bad.conf"
    with open(good, "w", encoding="utf-8") as file:
        file.write('task "greet" { exec = "cat" }\nhandler "app" { command = "x" directory = "/nowhere" }\n')
    with open(bad, "w", encoding="utf-8") as file:
        file.write('log_level = loud\n\ntask "greet" {\n\tconcurency = 1\n}\n')
    done = run_cli("check", "-c", good)
    assert done.returncode == 0
    assert done.stdout == f"{good}: 1 queues, 1 handlers, 1 tasks, no errors\n"
    assert f"warning: {good}:2: handler \"app\" is not run" in done.stderr
    assert "directory \"/nowhere\" does not exist here" in done.stderr
    done = run_cli("check", f"-c{bad}")
    assert done.returncode == 78
    assert done.stdout == ""
    assert f"pgconductor: {bad}:4: unknown option \"concurency\" in a section task\n" in done.stderr
    assert f"pgconductor: {bad}:1: log_level: \"loud\"" in done.stderr
    assert run_cli("check", "-c", f"{short_tmp}/gone.conf").returncode == 78
    assert run_cli("run", "-c", bad).returncode == 78


# ---- migrate ----

def test_migrate(empty_dsn):
    assert run_cli("migrate", "--status", dsn=empty_dsn).returncode == 1
    done = run_cli("list", dsn=empty_dsn)
    assert done.returncode == 78
    assert "hint: install or upgrade the schema with `pgconductor migrate`" in done.stderr
    assert run_cli("migrate", dsn=empty_dsn, check=True).stdout.startswith("installed version ")
    assert run_cli("migrate", dsn=empty_dsn, check=True).stdout.startswith("nothing to do")
    assert run_cli("migrate", "--status", dsn=empty_dsn).returncode == 0
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("update pgconductor.settings set value = 'old' where name = 'functions_digest'")
        conn.execute("drop function pgconductor.result(bigint)")
        assert run_cli("migrate", "--status", dsn=empty_dsn).returncode == 1
        assert run_cli("migrate", dsn=empty_dsn, check=True).stdout.startswith("replaced the functions")
        conn.execute("select * from pgconductor.result(1)")


def test_many_migrate_at_once(empty_dsn):
    running = [subprocess.Popen([paths.PGCONDUCTOR, "migrate", "--db", empty_dsn], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=clean_environment()) for _ in range(8)]
    for one in running:
        _, err = one.communicate(timeout=60)
        assert (one.returncode, err) == (0, "")
    assert run_cli("migrate", "--status", dsn=empty_dsn).returncode == 0


def test_a_schema_newer_than_the_program_is_refused(dsn, db, server):
    db.execute("update pgconductor.settings set value = '9999' where name = 'schema_version'")
    for argv in (["migrate"], ["migrate", "--status"], ["run", "--", "true"], ["run", "--no-migrate", "--", "true"]):
        done = run_cli(*argv[:1], "--db", dsn, *argv[1:])
        assert done.returncode == 78, argv
        assert "9999" in done.stdout + done.stderr


def test_no_migrate_wants_the_schema_of_this_program(empty_dsn):
    done = run_cli("run", "--no-migrate", "--db", empty_dsn, "--", "true")
    assert done.returncode == 78
    assert "pgconductor migrate" in done.stderr


def psql(dsn, text):
    return subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn], input=text, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=clean_environment())


def test_print_does_the_same_and_can_be_repeated(empty_dsn):
    script = run_cli("migrate", "--print", check=True).stdout
    for _ in range(2):
        done = psql(empty_dsn, script)
        assert done.returncode == 0, done.stdout
    assert run_cli("migrate", "--status", dsn=empty_dsn).returncode == 0


def test_a_role_that_may_create_no_roles_can_migrate(cluster, empty_dsn):
    """Without the client role there already; the database's owner is no superuser."""
    name = re.search(r"dbname=(\w+)", empty_dsn)[1]
    with cluster.connect() as admin:
        admin.execute("do $$ begin create role plain login; exception when duplicate_object then null; end $$")
        admin.execute(f"alter database {name} owner to plain")
    dsn = empty_dsn.replace("user=postgres", "user=plain")
    done = run_cli("migrate", dsn=dsn)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("select pgconductor.declare_task('t')")
        assert conn.execute("select pgconductor.invoke('t')").fetchone()[0] > 0


# ---- which database ----

def parts(dsn):
    return dict(re.findall(r"(\w+)=(\S+)", dsn))


def test_where_the_database_is_looked_for(dsn, db, short_tmp):
    db.execute("select pgconductor.declare_task('here')")
    p = parts(dsn)
    url = f"postgresql://postgres@/{p['dbname']}?host={p['host'].replace('/', '%2F')}"
    pg = {"PGHOST": p["host"], "PGUSER": "postgres", "PGDATABASE": p["dbname"]}
    bad = "postgresql://postgres@/none?host=%2Fnowhere"

    def tasks(*args, **env):
        return run_cli("tasks", *args, env=env, cwd=short_tmp)
    for done in (tasks("--db", url), tasks("--db-url", dsn), tasks(DATABASE_URL=url), tasks(**pg),
                 tasks("--db", url, DATABASE_URL=bad), tasks(DATABASE_URL=url, PGHOST="/nowhere"),
                 tasks("--db", p["dbname"], PGHOST=p["host"], PGUSER="postgres")):
        assert done.returncode == 0, done.stderr
        assert "here" in done.stdout
    done = tasks(DATABASE_URL=bad, **pg)
    assert done.returncode == 69
    assert done.stderr.startswith("pgconductor: tasks: database: ")
    assert done.stderr.count("\n") == 1


def test_a_database_that_refuses_ends_run_at_once(dsn, db):
    done = run_cli("run", "--db", dsn.replace("dbname=", "dbname=no_such_"), "--", "true")
    assert done.returncode == 69
    assert "does not exist" in done.stderr


def test_the_configuration_names_the_database(dsn, short_tmp, server, db, wait_for):
    config = f'database = "{dsn}"\ntask "greet" {{ exec = "cat" }}\n'
    one = server(config=config, dsn=None, wait=False)
    wait_for(lambda: db.execute("select count(*) from pgconductor.tasks").fetchone()[0] == 1, 10, "the task is declared")
    assert one.running()


def test_register(dsn, db, short_tmp):
    config, program = f"{short_tmp}/register.conf", f"{short_tmp}/program.py"
    with open(program, "w", encoding="utf-8") as file:
        file.write(f"""import os, sys
sys.path.insert(0, {os.path.join(paths.SRC, "tests")!r})
from support.handler import Handler
h = Handler()
@h.task("mail", queue="post", max_attempts=7)
def mail(run): pass
@h.task("news")
def news(run): pass
h.serve()
""")
    task = ('task "greet" { exec = "cat" max_attempts = 5 backoff = "exponential(1s, 10m)" timeout = 2m\n'
            ' remove_on_complete = 0 remove_on_fail = false queue = "small" }\n')
    with open(config, "w", encoding="utf-8") as file:
        file.write(task + f'handler "app" {{ command = {{ "/usr/bin/python3", "{program}" }} }}\n')
    done = run_cli("register", "-c", config, dsn=dsn)
    assert (done.returncode, done.stdout) == (0, "3 tasks declared\n"), done.stderr
    row = db.execute("select queue, max_attempts, backoff_ms, backoff_factor, backoff_max_ms, timeout_ms, keep_complete,"
                     " keep_fail from pgconductor.tasks where name = 'greet'").fetchone()
    assert row[:6] == ("small", 5, [1000], 2.0, 600000, 120000)
    assert row[6].total_seconds() == 0 and row[7] is None
    row = db.execute("select queue, max_attempts, sources ? 'code:app' from pgconductor.tasks where name = 'mail'").fetchone()
    assert row == ("post", 7, True)
    assert run_cli("invoke", "news", dsn=dsn).returncode == 0

    done = run_cli("register", "--db", dsn, "--", "/usr/bin/python3", program)
    assert (done.returncode, done.stdout) == (0, "2 tasks declared\n"), done.stderr
    assert db.execute("select sources ? 'code:program.py' from pgconductor.tasks where name = 'mail'").fetchone()[0]


@pytest.mark.parametrize("command", [["false"], ["/nowhere/program"], ["cat", "/dev/null"]])
def test_register_a_program_that_does_not_announce_its_tasks(dsn, db, command):
    done = run_cli("register", "--db", dsn, "--", *command)
    assert done.returncode == 69
    assert f"pgconductor: register: {os.path.basename(command[0])} " in done.stderr
    assert db.execute("select count(*) from pgconductor.tasks").fetchone()[0] == 0


@pytest.mark.skipif(os.path.exists("/etc/pgconductor/pgconductor.conf"), reason="this machine has a configuration")
@pytest.mark.parametrize("command", ["run", "register"])
def test_nothing_to_serve_or_register(dsn, command):
    done = run_cli(command, dsn=dsn)
    assert done.returncode == 64
    assert "nothing to" in done.stderr
