"""Fixtures of the integration tests.

cluster   one private PostgreSQL for the whole session
dsn       a fresh database with the schema, copied from a migrated template
db        a psycopg connection to it, in autocommit mode
connect   connect(**options): further connections to it
server    server(config=…, cmd=…): a running pgconductor; its log is shown when the test fails
cli       cli("invoke", "greet", …): one command against the test's database
ledger    a file that handlers append to, see support/ledger.py
app       a program with tasks for the engine's tests, which enters what it does in the ledger, see support/app.py
wait_for  wait_for(condition, timeout)
seed      a number for randomised tests: PGC_SEED, or a new one; it is shown when the test fails

PGC_LONG=1 selects the long forms (fixture `scale`).
"""

import datetime
import hashlib
import os
import random
import signal
import subprocess
import sys

import psycopg
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from support import paths, processes  # noqa: E402
from support.app import App  # noqa: E402
from support.cluster import Cluster, bindir  # noqa: E402
from support.ledger import Ledger  # noqa: E402
from support.server import Server, clean_environment, run_cli  # noqa: E402
from support.wait import wait_for as wait_for_condition  # noqa: E402

# A shell without job control starts what it puts into the background with SIGINT ignored, which is inherited: then no
# Ctrl-C that a test sends would do anything.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

LONG = os.environ.get("PGC_LONG", "") not in ("", "0")
# Commits wait for their WAL to be written, though not for the disk: tests kill PostgreSQL, never the machine.
# Small memory, so that several test files may run beside each other.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "100",
            "shared_buffers": "64MB", "max_prepared_transactions": "64", "log_line_prefix": "%m [%p] %a ",
            "autovacuum_naptime": "5s", "timezone": "UTC", "log_timezone": "UTC"}


def pytest_configure():
    processes.heed_all_signals()


def psql(dsn, text):
    """Run a script with psql, stopping at the first error."""
    done = subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn], input=text, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=clean_environment())
    assert done.returncode == 0, done.stdout
    return done.stdout


def schema_script():
    """What installs the schema, by the program that was built, or by the sources when there is none yet."""
    if os.path.exists(paths.PGCONDUCTOR):
        return run_cli("migrate", "--print", check=True).stdout
    return subprocess.run([f"{paths.SRC}/scripts/print-sql"], stdout=subprocess.PIPE, text=True, check=True).stdout


def install(dsn):
    """Install or upgrade the schema, by the program that was built, or by the SQL alone when there is none yet."""
    if os.path.exists(paths.PGCONDUCTOR):
        run_cli("migrate", dsn=dsn, check=True)
    else:
        psql(dsn, schema_script())


def add_template(cluster):
    """The database that tests copy."""
    cluster.create_database("template_pgconductor")
    install(cluster.dsn("template_pgconductor"))


def kept():
    """Where the data of a server with the template is kept in the build tree, for all tests of this schema."""
    version = subprocess.run([f"{bindir()}/postgres", "-V"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[2]
    # The schema has partitions for the days to come.
    made_of = f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%d}{schema_script()}"
    return f"{paths.BUILD}/tests/initdb-{version}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"


def with_template(settings):
    """A cluster that has the template. All of them have the same system identifier."""
    return Cluster(settings, like=kept(), prepare=add_template)


@pytest.fixture(scope="session")
def cluster():
    with with_template(SETTINGS) as running:
        yield running


@pytest.fixture
def own_cluster():
    """A function that starts further clusters, for tests that kill PostgreSQL or change its settings.

    Their database is `test`. Those without the schema are other systems than the rest, as PostgreSQL identifies systems.
    """
    started = []

    def start(migrate=True, **settings):
        one = with_template(SETTINGS | settings) if migrate else Cluster(SETTINGS | settings)
        started.append(one)
        one.start()
        one.create_database("test", "template_pgconductor" if migrate else None)
        return one
    yield start
    for one in started:
        one.remove()


_counter = iter(range(1, 1 << 30))


@pytest.fixture
def dsn(cluster):
    name = f"t{next(_counter)}"
    cluster.create_database(name, "template_pgconductor")
    yield cluster.dsn(name)
    cluster.drop_database(name)


@pytest.fixture
def empty_dsn(cluster):
    """A fresh database without the schema."""
    name = f"e{next(_counter)}"
    cluster.create_database(name)
    yield cluster.dsn(name)
    cluster.drop_database(name)


@pytest.fixture
def connect(dsn):
    opened = []

    def open_one(autocommit=True, dsn=dsn, **options):
        conn = psycopg.connect(dsn, autocommit=autocommit, **options)
        opened.append(conn)
        return conn
    yield open_one
    for conn in opened:
        conn.close()


@pytest.fixture
def db(connect):
    return connect()


@pytest.fixture
def wait_for():
    return wait_for_condition


@pytest.fixture
def cli(dsn):
    def run(*args, dsn=dsn, **options):
        return run_cli(*args, dsn=dsn, **options)
    return run


@pytest.fixture
def ledger(short_tmp):
    return Ledger(os.path.join(short_tmp, "ledger"))


@pytest.fixture
def app(short_tmp, ledger):
    return App(short_tmp, ledger)


def open_directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("t")
    os.chmod(path, 0o777)
    for parent in list(path.parents)[:2]:
        if os.stat(parent).st_uid == os.geteuid() and parent != tmp_path_factory.getbasetemp().parent.parent:
            os.chmod(parent, 0o755)
    return str(path)


@pytest.fixture
def short_tmp(tmp_path_factory):
    """A temporary directory that handlers of another user can reach too."""
    return open_directory(tmp_path_factory)


@pytest.fixture(scope="module")
def module_tmp(tmp_path_factory):
    """One for all tests of a file."""
    return open_directory(tmp_path_factory)


def serving(conn, pid):
    """Does the node with this pid serve something? (The first thing a test may rely on.)"""
    row = conn.execute("select serves from pgconductor.nodes where pid = %s order by id desc limit 1", (pid,)).fetchone()
    return row is not None and len(row[0]) > 0


@pytest.fixture
def server(request, dsn, short_tmp):
    """server(config=None, cmd=None, args=(), env=None, dsn=…, wait=True): start `pgconductor run`.

    With wait, returns once the node says in the database what it serves. At the end every server is stopped; a line
    of a sanitizer in any log fails the test.
    """
    started = []

    def start(config=None, cmd=None, args=(), env=None, dsn=dsn, cwd=None, wait=True, timeout=20.0, command="run"):
        log = os.path.join(short_tmp, f"server{len(started) + 1}.log")
        one = Server(dsn, log, config=config, cmd=cmd, args=args, env=env, cwd=cwd, command=command)
        started.append(one)
        request.node.user_properties.append(("server_log", log))
        if wait:
            with psycopg.connect(dsn, autocommit=True) as conn:
                def ready():
                    assert one.running(), f"the server has ended with {one.process.returncode}:\n{one.log}"
                    return serving(conn, one.pid)
                wait_for_condition(ready, timeout, "the node serves its tasks")
        return one
    yield start
    for one in started:
        try:
            one.stop(15)
        except AssertionError:
            one.kill9()
            raise
    for one in started:
        assert not one.sanitizer_lines(), one.sanitizer_lines()


@pytest.fixture
def seed(request):
    value = int(os.environ.get("PGC_SEED") or random.SystemRandom().randrange(1 << 31))
    request.node.user_properties.append(("seed", value))
    return value


@pytest.fixture
def scale():
    """scale(short, long): the size of a test in `make check` and in `make check-long`."""
    return lambda short, long: long if LONG else short


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the seed and the servers' logs with a failure."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed or call.when not in ("setup", "call", "teardown"):
        return
    for name, value in item.user_properties:
        if name == "seed":
            report.sections.append(("seed", f"replay with PGC_SEED={value}"))
        elif name == "server_log" and os.path.exists(value):
            with open(value, encoding="utf-8", errors="replace") as file:
                text = file.read()
            report.sections.append((f"log of {os.path.basename(value)}", text[-20000:]))
