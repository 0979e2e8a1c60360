"""An upgraded schema: the tests of the SQL once more where earlier versions were installed first, and what it must keep.

schemas/1.sql is the output of scripts/print-sql, those after it are that of `pgconductor migrate --print`, which upgrade as
well. They stay as they are; each version that is released adds its own.
"""

import os

import pytest

from conftest import SETTINGS, install, psql
from support.cluster import Cluster
from support.sqlnode import Node
from test_sql_history import *  # noqa: F401,F403
from test_sql_logs import *  # noqa: F401,F403
from test_sql_suspend import *  # noqa: F401,F403

SCHEMAS = os.path.join(os.path.dirname(__file__), "schemas")
VERSIONS = range(1, 1 + len(os.listdir(SCHEMAS)))


def install_old(dsn, *versions):
    for version in versions:
        with open(f"{SCHEMAS}/{version}.sql", encoding="utf-8") as file:
            psql(dsn, file.read())


@pytest.fixture(scope="session")
def cluster():
    """From the first version on, one after the other."""
    with Cluster(SETTINGS) as running:
        running.create_database("template_pgconductor")
        dsn = running.dsn("template_pgconductor")
        install_old(dsn, *VERSIONS)
        install(dsn)
        yield running


def contents(db):
    """Every row of every table, without what is null or a later column's default; but for settings, and those that have one row
    from the beginning."""
    tables = [r[0] for r in db.execute("""select c.relname from pg_class c where c.relnamespace = 'pgconductor'::regnamespace
        and c.relkind in ('r', 'p') and not c.relispartition and c.relname not in ('settings', 'dispatcher', 'dispatched') order by 1""")]
    return {t: db.execute(f"select array_agg(r order by r) from (select regexp_replace(json_strip_nulls(to_json(t))::text, %s, '', 'g') r"
                          f" from pgconductor.{t} t) x",
                          (',"(invocable":true,"invocable_by":{}|limited":false|idle":false|priority":0|key_fifo":false)',)).fetchone()[0] for t in tables}


def columns(db):
    return db.execute("""select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = 'pgconductor'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
        order by 1, a.attnum""").fetchall()


def functions(db):
    return db.execute("""select p.oid::regprocedure::text, md5(pg_get_functiondef(p.oid)) from pg_proc p
        where p.pronamespace = 'pgconductor'::regnamespace order by 1""").fetchall()


def is_version(db, version):
    return db.execute("select value from pgconductor.settings where name = 'schema_version'").fetchone() == (str(version),)


@pytest.mark.parametrize("version", VERSIONS)
def test_upgrading_keeps_every_row(empty_dsn, connect, version):
    """And what was unfinished goes on, as far as its node was."""
    install_old(empty_dsn, version)
    db = connect(dsn=empty_dsn)
    assert is_version(db, version)
    db.execute("""select pgconductor.declare_task('work', null, '{"max_attempts": 7}')""")
    db.execute("select pgconductor.invoke('work', '[12.50]'::text) from generate_series(1, 5)")
    db.execute("select pgconductor.invoke('work', '1'::text, delay => '1 hour', priority => 3)")
    first = db.execute("select min(id) from pgconductor.executions").fetchone()[0]
    assert db.execute("select pgconductor.cancel(%s)", (first,)).fetchone()[0]
    assert db.execute("select pgconductor.cancel(%s)", (first + 1,)).fetchone()[0]
    assert db.execute("select pgconductor.retry(%s)", (first + 1,)).fetchone()[0]
    node = Node(lambda **options: connect(dsn=empty_dsn, **options)).serve("default/work")
    shards = node.settle_in()
    node.note([node.run_of(first + 2)], age_ms=5000)
    before = contents(db)
    assert len(before["executions"]) == 5 and len(before["finished_executions"]) == 2 and len(before["running"]) == 1
    install(empty_dsn)
    after = contents(db)
    assert {table: after[table] for table in before} == before
    # What is new has no rows.
    assert not [table for table, rows in after.items() if rows and table not in before]
    assert not is_version(db, version) and db.execute("select pgconductor.retry(%s)", (first,)).fetchone()[0]
    # Its node ended before it was upgraded; the next one goes on with what is there.
    node.die()
    second = Node(lambda **options: connect(dsn=empty_dsn, **options)).serve("default/work")
    taken = []
    while len(taken) < len(shards):
        taken += second.settle_in()
    runs = second.ready()
    assert sorted(r[0] for r in runs) == [first, first + 1, first + 3, first + 4]
    crashed = db.execute("select attempt, error ->> 'code' from pgconductor.executions where id = %s", (first + 2,)).fetchone()
    assert crashed == (1, "crash")
    second.suspend(*((r, [{"key": "c", "task": "work"}]) for r in runs))
    second.settle([r for r in second.ready()], result="1")
    second.take_wakes()
    assert {str(second.journal(second.run_of(r[0]))) for r in runs} == {"{'c': 1}"}


@pytest.fixture(scope="session")
def fresh_dsn(cluster):
    cluster.create_database("fresh")
    install(cluster.dsn("fresh"))
    return cluster.dsn("fresh")


@pytest.mark.parametrize("versions", [(v,) for v in VERSIONS] + [tuple(VERSIONS)], ids=lambda v: "-".join(map(str, v)))
def test_an_upgraded_schema_is_as_a_fresh_one(fresh_dsn, empty_dsn, connect, versions):
    install_old(empty_dsn, *versions)
    install(empty_dsn)
    fresh, db = connect(dsn=fresh_dsn), connect(dsn=empty_dsn)
    assert columns(db) == columns(fresh)
    assert functions(db) == functions(fresh)
