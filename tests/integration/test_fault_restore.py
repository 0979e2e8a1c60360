"""A dump that was taken under load and restored into another cluster goes on working, although the transaction ids in it
are another cluster's: all of the past, all of the future, or in between."""

import json
import subprocess

import psycopg
import pytest

from support import faults
from support.faults import Book, Load
from support.ledger import Ledger
from support.server import clean_environment
from support.wait import wait_for

# Transaction ids to begin with: epoch and xid, the latter where a segment of pg_xact begins, as pg_resetwal wants it.
OLD, NEW = (3, 1 << 20), (5, 1 << 20)


def set_xids(cluster, epoch, xid):
    cluster.stop("fast")
    done = subprocess.run(**cluster._command("pg_resetwal", "-e", str(epoch), "-x", str(xid), "-D", cluster.data),
                          stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout
    cluster.start()


def next_xid(conn):
    return int(conn.execute("select pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()[0])


def dump(cluster, path):
    with open(path, "w", encoding="utf-8") as file:
        subprocess.run([f"{cluster.bindir}/pg_dump", "-d", cluster.dsn("test")], stdout=file, env=clean_environment(),
                       check=True)


def restore(cluster, path, dbname):
    cluster.create_database(dbname)
    with cluster.connect() as conn:
        for role in ("pgconductor_client", "pgconductor_filter", "pgconductor_change"):
            if not conn.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone():
                conn.execute(f"create role {role} nologin")
    done = subprocess.run([f"{cluster.bindir}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", cluster.dsn(dbname), "-f",
                           path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment())
    assert done.returncode == 0, done.stdout


def unfinished(conn):
    return {row[0]: row[1] for row in conn.execute("select id, waiting from pgconductor.executions").fetchall()}


@pytest.mark.parametrize("before, after", [(OLD, None), (None, NEW), (None, "same"), (None, "little")],
                         ids=["behind", "ahead", "same cluster", "a little behind"])
def test_a_restored_dump_goes_on(own_cluster, server, short_tmp, seed, before, after, scale):
    if (before, after) in scale([(None, "same"), (None, "little")], []):
        pytest.skip("in make check-long")
    origin = own_cluster()
    if before:
        set_xids(origin, *before)
    conn = origin.connect("test")
    ledger = Ledger(f"{short_tmp}/origin")
    one = server(config=faults.configuration(ledger, "a"), dsn=origin.dsn("test"))
    book = Book(ledger)
    conn.execute("select pgconductor.declare_task('later')")
    if after == "little":
        # The other cluster will assign the same numbers soon.
        for _ in range(2000):
            conn.execute("select pg_current_xact_id()")
    with Load(origin.dsn("test"), book, seed, ms=100):
        # Of each kind something: running long enough to be noted, delayed, and served by nobody.
        long = conn.execute("select pgconductor.invoke('work', '{\"ms\":2500}')").fetchone()[0]
        delayed = conn.execute("select pgconductor.invoke('work', '{}', delay => '1 minute')").fetchone()[0]
        soon = conn.execute("select pgconductor.invoke('work', '{}', delay => '4 s')").fetchone()[0]
        parked = conn.execute("select pgconductor.invoke('later', '{}')").fetchone()[0]
        wait_for(lambda: conn.execute("select 1 from pgconductor.running where id = %s", (long,)).fetchone(), 20,
                 "the long one is noted as running")
        wait_for(lambda: unfinished(conn)[parked] == "unserved", 20, "what nobody serves is parked")
        dump(origin, f"{short_tmp}/dump.sql")
    conn.close()
    if after != "same":
        one.kill9()
        origin.stop()
    target = origin if after == "same" else own_cluster(migrate=False)
    if isinstance(after, tuple):
        set_xids(target, *after)
    restore(target, f"{short_tmp}/dump.sql", "copy")
    dsn = target.dsn("copy")
    conn = psycopg.connect(dsn, autocommit=True)
    left = unfinished(conn)
    assert {long, delayed, soon, parked} <= set(left) and len(left) > 50
    highest = int(conn.execute("select max(ready_xid::text::numeric) from pgconductor.executions").fetchone()[0])
    assert (next_xid(conn) > highest) == (after in (NEW, "same")), (next_xid(conn), highest)
    done = conn.execute("select count(*) from pgconductor.finished_executions").fetchone()[0]

    ledger = Ledger(f"{short_tmp}/target")
    book = Book(ledger)
    two = server(config=faults.configuration(ledger, "b"), dsn=dsn)
    with Load(dsn, book, seed + 1, ms=100) as load:
        wait_for(lambda: len(load.ids & set(book.read().of)) > 100, 30, "new work is done")
    wait_for(lambda: set(left) - {delayed, parked} <= set(book.read().of), 30, "what was unfinished has run")
    # What had been running there counts as an attempt that was cut off.
    assert [r.attempt for r in book.of[long]] == [2]
    load.ids |= set(left) - {delayed, parked}
    wait_for(lambda: set(unfinished(conn)) == {delayed, parked}, 30, "all but two are finished")
    assert conn.execute("select pgconductor.cancel(%s)", (delayed,)).fetchone() == (True,)
    assert conn.execute("select count(*) from pgconductor.finished_executions").fetchone()[0] == done + 1 + len(load.ids)
    # The checker looks at what was finished here.
    conn.execute("delete from pgconductor.finished_executions f where not f.id = any (%s)", (list(load.ids),))
    conn.execute("delete from pgconductor.executions where id = %s", (parked,))
    assert not faults.check(conn, book, load, [])
    # From sleep, too.
    execution = conn.execute("select pgconductor.invoke('echo', %s)", (json.dumps("awake"),)).fetchone()[0]
    wait_for(lambda: conn.execute("select state from pgconductor.result(%s)", (execution,)).fetchone() == ("completed",),
             5, "it is woken")
    two.stop()
    conn.close()
