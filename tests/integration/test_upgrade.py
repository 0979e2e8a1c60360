"""An upgraded schema: the tests of the SQL once more where schemas/1.sql was installed first, and what it must keep.

schemas/1.sql is the output of scripts/print-sql. Until the first release it is recorded anew whenever the first migration
changes; from then on it stays, and each released version adds its own.
"""

import os

import pytest

from conftest import install, psql, start_cluster
from test_sql_history import *  # noqa: F401,F403
from test_sql_logs import *  # noqa: F401,F403
from test_sql_suspend import *  # noqa: F401,F403

SCHEMAS = os.path.join(os.path.dirname(__file__), "schemas")


def old_schema(dsn):
    with open(f"{SCHEMAS}/1.sql", encoding="utf-8") as file:
        psql(dsn, file.read())


@pytest.fixture(scope="session")
def cluster():
    yield from start_cluster(old_schema)


def contents(db):
    """Every row of every table but settings, without what is null."""
    tables = [r[0] for r in db.execute("""select c.relname from pg_class c where c.relnamespace = 'pgconductor'::regnamespace
        and c.relkind in ('r', 'p') and not c.relispartition and c.relname <> 'settings' order by 1""")]
    return {t: db.execute(f"select array_agg(r order by r) from (select json_strip_nulls(to_json(t))::text r"
                          f" from pgconductor.{t} t) x").fetchone()[0] for t in tables}


def columns(db):
    return db.execute("""select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = 'pgconductor'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
        order by 1, a.attnum""").fetchall()


def functions(db):
    return db.execute("""select p.oid::regprocedure::text, md5(pg_get_functiondef(p.oid)) from pg_proc p
        where p.pronamespace = 'pgconductor'::regnamespace order by 1""").fetchall()


def test_upgrading_keeps_every_row(empty_dsn, connect):
    old_schema(empty_dsn)
    db = connect(dsn=empty_dsn)
    db.execute("""select pgconductor.declare_task('work', null, '{"max_attempts": 7}')""")
    db.execute("select pgconductor.invoke('work', '[12.50]'::text) from generate_series(1, 3)")
    db.execute("select pgconductor.invoke('work', '1'::text, delay => '1 hour', priority => 3)")
    first = db.execute("select min(id) from pgconductor.executions").fetchone()[0]
    assert db.execute("select pgconductor.cancel(%s)", (first,)).fetchone()[0]
    before = contents(db)
    assert len(before["executions"]) == 3 and len(before["finished_executions"]) == 1
    install(empty_dsn)
    after = contents(db)
    assert {table: after[table] for table in before} == before
    assert {table: rows for table, rows in after.items() if table not in before} == {"logs": None, "steps": None, "wakes": None}
    assert db.execute("select pgconductor.retry(%s)", (first,)).fetchone()[0]


def test_an_upgraded_schema_is_as_a_fresh_one(cluster, db, connect):
    cluster.create_database("fresh")
    install(cluster.dsn("fresh"))
    fresh = connect(dsn=cluster.dsn("fresh"))
    assert columns(db) == columns(fresh)
    assert functions(db) == functions(fresh)
