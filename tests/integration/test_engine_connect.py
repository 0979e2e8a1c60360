"""Connections: what stands between, several hosts, names, and coming back."""

import os
import re
import shutil
import subprocess
import time

import psycopg
import pytest

from support.cluster import Cluster
from support.engine import asleep, backend, invoke, value, wait_empty, wait_finished
from support.proxy import Proxy
from support.wait import wait_for

ROLES = ("writer", "reader", "listener", "sleeper", "control")
LINE = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|warn|error) +\w+\[\d+\]: ")


def count(server, pattern):
    return len(re.findall(pattern, server.log, re.M))


def test_pooler_is_refused(server, app, cluster, db, short_tmp):
    """Locks and writes would be of two sessions. What is between shows by the backend's number; migrating may use it."""
    with Proxy(cluster.dir, short_tmp, pid_offset=1000) as pooler:
        one = server(config=app.config("seen"), dsn=pooler.dsn(db.info.dbname), wait=False)
        assert one.wait_exit(10) == 69
        assert "a connection pooler stands between" in one.log and "address of PostgreSQL itself" in one.log
        assert value(db, "select count(*) from pgconductor.nodes") == 0


def test_pooler_that_comes_later(server, app, cluster, db, short_tmp):
    """In the middle of a change of servers, say: the server goes on trying, and says why once."""
    with Proxy(cluster.dir, short_tmp) as proxy:
        one = server(config=app.config("seen"), dsn=proxy.dsn(db.info.dbname))
        wait_finished(db, invoke(db))
        proxy.pid_offset = 1
        pid = backend(db, "writer")
        db.execute("select pg_terminate_backend(%s)", (pid,))
        one.wait_log("error .*a connection pooler", 5)
        # Tried several times since.
        accepted = proxy.accepted
        wait_for(lambda: proxy.accepted >= accepted + 4, 15, "it tries again")
        assert count(one, "error .*a connection pooler") == 1
        proxy.pid_offset = 0
        wait_finished(db, invoke(db))


def test_coming_back_is_logged_once(own_cluster, server, app):
    """A line for each connection when it goes and when it is back, whatever was tried in between; and nothing that is
    not a line of the log, such as what libpq prints of its own."""
    cluster = own_cluster()
    one = server(config=app.config("seen", "hold"), dsn=cluster.dsn("test"))
    with cluster.connect("test") as db:
        held = invoke(db, "hold")
        wait_for(lambda: app.runs(held))
        asleep(db)
        cluster.stop("fast")
    for role in ROLES:
        one.wait_log(f"database: {role} connection lost: terminating connection due to administrator command")
    # What ends now waits for the database.
    app.release(held)
    wait_for(lambda: app.ledger.entries("end", held))
    begin = time.monotonic()
    wait_for(lambda: time.monotonic() - begin > 3, 5)
    cluster.start()
    begin = time.monotonic()
    with cluster.connect("test") as db:
        wait_finished(db, held, timeout=5)
        i = invoke(db)
        wait_finished(db, i, timeout=5)
    assert time.monotonic() - begin < 5
    for role in ROLES:
        one.wait_log(f"database: {role} connection is back")
        assert count(one, f"{role} connection (lost|failed)") == 1
        assert count(one, f"{role} connection is back") == 1
    strange = [line for line in one.log.splitlines() if not LINE.match(line)]
    assert not strange, strange
    app.assert_once([held, i])


def standby_of(primary, settings):
    """A hot standby that follows; it is not started yet."""
    standby = Cluster(settings)
    done = subprocess.run(**standby._command("pg_basebackup", "-D", standby.data, "-R", "-X", "stream", "-c", "fast", "--no-sync",
                                             "-d", primary.dsn("postgres")), stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout
    with open(f"{standby.data}/postgresql.conf", "a", encoding="utf-8") as conf:
        conf.write(f"unix_socket_directories = '{standby.dir}'\n")
    return standby


def test_promoted_standby_is_followed(own_cluster, server, app):
    """Several hosts and target_session_attrs: the server goes on where it may write, with what was running."""
    primary = own_cluster()
    standby = standby_of(primary, {"fsync": "off"})
    try:
        standby.start()
        both = (f"host={primary.dir},{standby.dir} port=5432,5432 user=postgres dbname=test target_session_attrs=read-write")
        one = server(config=app.config("seen", "hold"), dsn=both)
        with primary.connect("test") as db:
            ids = [invoke(db) for _ in range(20)]
            held = invoke(db, "hold")
            wait_empty_but(db, 1)
            wait_for(lambda: app.runs(held))
            waiting = [invoke(db, delay="2 s") for _ in range(20)]
            wait_for(lambda: value(db, "select replay_lsn >= pg_current_wal_lsn() from pg_stat_replication"))
        primary.kill9()
        with standby.connect("test") as db:
            assert value(db, "select pg_promote()") is True
            assert value(db, "select pg_is_in_recovery()") is False
            begin = time.monotonic()
            wait_for(lambda: backend(db, "writer"), 5)
            more = [invoke(db) for _ in range(20)]
            for i in more:
                wait_finished(db, i, timeout=5)
            assert time.monotonic() - begin < 5
            app.release(held)
            wait_empty(db)
            app.assert_once(ids + [held] + waiting + more)
        assert one.running()
        one.stop()
    finally:
        standby.remove()


def wait_empty_but(db, n):
    wait_for(lambda: value(db, "select count(*) from pgconductor.executions") == n, 10, f"{n} executions are left")


SLOW_NAMES = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <unistd.h>
int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
	const char *flag = getenv("SLOW_NAMES");

	if (node != NULL && !(hints != NULL && hints->ai_flags & AI_NUMERICHOST) && flag != NULL && access(flag, F_OK) == 0)
		sleep(20);
	return real(node, service, hints, res);
}
"""


def test_names_are_looked_up_without_waiting(server, app, cluster, db, short_tmp):
    """getaddrinfo() that takes twenty seconds: nobody here may call it with a name once the server runs. Fails (the
    master stands still) when libpq is given the name alone."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no compiler")
    source, library, flag = (os.path.join(short_tmp, n) for n in ("names.c", "names.so", "slow"))
    with open(source, "w", encoding="ascii") as file:
        file.write(SLOW_NAMES)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    env = {"LD_PRELOAD": library, "SLOW_NAMES": flag, "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0"}
    with Proxy(cluster.dir, short_tmp, tcp=True) as proxy:
        dsn = f"host=localhost port={proxy.port} user=postgres dbname={db.info.dbname}"
        one = server(config=app.config("seen"), dsn=dsn, env=env)
        wait_finished(db, invoke(db))
        open(flag, "w", encoding="ascii").close()
        begin = time.monotonic()
        for role in ROLES:
            db.execute("select pg_terminate_backend(%s)", (backend(db, role),))
        ids = [invoke(db) for _ in range(5)]
        for i in ids:
            wait_finished(db, i, timeout=5)
        for role in ROLES:
            one.wait_log(f"{role} connection is back", 5)
        assert time.monotonic() - begin < 10
        os.unlink(flag)


def test_server_that_starts_before_its_database(own_cluster, server, app):
    """It waits, and says so once."""
    cluster = own_cluster()
    dsn = cluster.dsn("test")
    cluster.stop("fast")
    one = server(config=app.config("seen"), dsn=dsn, wait=False)
    one.wait_log("trying again")
    cluster.start()
    with psycopg.connect(dsn, autocommit=True) as db:
        wait_for(lambda: value(db, "select count(*) from pgconductor.shards where owner is not null") == 4, 10)
        wait_finished(db, invoke(db))
    assert count(one, "trying again") == 1
