"""Installing: rights, roles, comments, and that the same SQL comes out of the binary, of psql, and a second time."""

import os
import re
import subprocess

import psycopg
import pytest

from support import paths
from support.sqlnode import declare, one

CLIENT = {"invoke", "invoke_batch", "cancel", "retry", "result", "declare_task", "set_options", "execution_logs", "execution_steps",
          "save_step", "schedule", "unschedule", "enable_schedule", "emit", "payload_schema", "edit", "move", "discard", "enable_task",
          "enable_queue", "error_kind", "has_metadata", "blocked_by", "delayed", "now", "execution_key",
          "event_schemas", "generate_types", "generate_tasks"}
SQL = os.path.join(paths.SRC, "sql")


def schema():
    return subprocess.run([f"{paths.SRC}/scripts/print-sql"], stdout=subprocess.PIPE, text=True, check=True).stdout


def psql(dsn, text, check=True):
    done = subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn], input=text, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert not check or done.returncode == 0, done.stderr
    return done.stderr


def sql_files(folder):
    return sorted(f for f in os.listdir(os.path.join(SQL, folder)) if f.endswith(".sql"))


def read(name):
    with open(os.path.join(SQL, name), encoding="utf-8") as file:
        return file.read()


def test_every_file_is_listed():
    listed = re.findall(r"sql/((?:migrations|functions)/\S+\.sql)", read("local.mk"))
    assert sorted(listed) == sorted(f"{d}/{f}" for d in ("functions", "migrations") for f in sql_files(d))


def test_migrations_are_numbered_without_gaps():
    assert [int(f[:4]) for f in sql_files("migrations")] == list(range(1, len(sql_files("migrations")) + 1))


def test_one_function_per_file():
    for name in sql_files("functions"):
        text = read(f"functions/{name}")
        made = re.findall(r"^create or replace (?:function|view) pgconductor\.(\w+)", text, re.M)
        assert len(made) == 1, name
        assert name[:-4] == made[0] or name[:-4].startswith(made[0] + "_"), name
        assert re.search(rf"^comment on (function|view) pgconductor\.{made[0]}\b", text, re.M), name
        assert not re.search(r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|FROM|WHERE)\b", text), f"{name}: upper-case keyword"


def test_bodies_are_valid(db):
    """The installation switches the check of bodies off, as they refer to each other; now all are there."""
    for name in sql_files("functions"):
        db.execute(read(f"functions/{name}"))


def test_embedding_keeps_the_text(tmp_path):
    """The C source made of the SQL holds the same bytes."""
    files = [f"sql/{d}/{f}" for d in ("migrations", "functions") for f in sql_files(d)] + ["sql/finish.sql"]
    source = subprocess.run(["sh", os.path.join(SQL, "embed.sh"), paths.SRC, *reversed(files)], stdout=subprocess.PIPE,
                            check=True).stdout
    (tmp_path / "embedded.c").write_bytes(source)
    (tmp_path / "main.c").write_text("""
        #include <stdio.h>
        #include "sql/sql.h"
        int main(void)
        {
            for (size_t i = 0; i < sql_migrations_n; i++)
                printf("%s %d\\n%s", sql_migrations[i].name, sql_migrations[i].number, sql_migrations[i].text);
            for (size_t i = 0; i < sql_functions_n; i++)
                printf("%s %d\\n%s", sql_functions[i].name, sql_functions[i].number, sql_functions[i].text);
            for (size_t i = 0; i < sql_finish_n; i++)
                printf("%s %d\\n%s", sql_finish[i].name, sql_finish[i].number, sql_finish[i].text);
            printf("%d\\n", sql_version);
            return 0;
        }
    """)
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I", paths.SRC, "-o", tmp_path / "main",
                    tmp_path / "main.c", tmp_path / "embedded.c"], check=True)
    got = subprocess.run([tmp_path / "main"], stdout=subprocess.PIPE, text=True, check=True).stdout
    expected = "".join(f"{f[:-4]} {int(f[:4])}\n" + read(f"migrations/{f}") for f in sql_files("migrations"))
    expected += "".join(f"{f[:-4]} 0\n" + read(f"functions/{f}") for f in sql_files("functions"))
    expected += "finish 0\n" + read("finish.sql") + f"{len(sql_files('migrations'))}\n"
    assert got == expected


def test_functions_again(db, dsn):
    """What a program of the same or a later version does: functions and rights once more, data stays."""
    declare(db)
    made = one(db, "select pgconductor.invoke('work')")[0]
    psql(dsn, "".join(read(f"functions/{f}") for f in sql_files("functions")) + read("finish.sql"))
    assert one(db, "select state from pgconductor.result(%s)", made) == ("ready",)


def test_every_function_says_what_it_does(db):
    rows = db.execute("select p.oid::regprocedure::text from pg_proc p where pronamespace = 'pgconductor'::regnamespace"
                      " and obj_description(p.oid, 'pg_proc') is null").fetchall()
    assert rows == []


def test_security_definers_pin_their_search_path(db):
    rows = db.execute("select proname, proconfig from pg_proc where pronamespace = 'pgconductor'::regnamespace and prosecdef").fetchall()
    # Those two read no table, and are inlined.
    assert {name for name, _ in rows} == CLIENT - {"delayed", "now"} | {"evaluate_filter", "ensure_partition", "fit_change", "select_columns"}
    for name, config in rows:
        assert config == ["search_path=pg_catalog, pg_temp"], name


def test_others_may_do_nothing(db, dsn):
    """Everybody else: not even look."""
    db.execute("do $$ begin create role sql_stranger login; exception when duplicate_object then null; end $$")
    with psycopg.connect(dsn, user="sql_stranger", autocommit=True) as stranger:
        for statement in ("select pgconductor.invoke('work')", "select * from pgconductor.executions_all",
                          "select * from pgconductor.executions", "select * from pgconductor.live_nodes()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                stranger.execute(statement)
    rows = db.execute("select p.oid::regprocedure::text from pg_proc p where pronamespace = 'pgconductor'::regnamespace"
                      " and has_function_privilege('sql_stranger', p.oid, 'execute')").fetchall()
    assert rows == []


def test_clients_may_do_just_what_they_need(db, dsn):
    db.execute("do $$ begin create role sql_client login; exception when duplicate_object then null; end $$")
    db.execute("grant pgconductor_client to sql_client")
    may = {r[0] for r in db.execute("select distinct proname from pg_proc p where pronamespace = 'pgconductor'::regnamespace"
                                    " and has_function_privilege('sql_client', p.oid, 'execute')").fetchall()}
    assert may == CLIENT
    tables = db.execute("select c.oid::regclass::text from pg_class c where relnamespace = 'pgconductor'::regnamespace and"
                        " relkind in ('r', 'p', 'v') and has_table_privilege('sql_client', c.oid,"
                        " 'select, insert, update, delete, truncate, references, trigger')").fetchall()
    assert tables == [("pgconductor.executions_all",)]
    with psycopg.connect(dsn, user="sql_client", autocommit=True) as client:
        client.execute("select pgconductor.declare_task('work', 'other', '{\"timeout\":\"5s\"}')")
        calls = ["invoke('work')", "invoke('work', '{}'::json)", "invoke('work', '{}'::jsonb)",
                 "invoke('work', priority => 3, queue => 'third', delay => '1 s')"]
        ids = [one(client, f"select pgconductor.{c}")[0] for c in calls]
        ids += one(client, "select pgconductor.invoke_batch('work', '[{},{\"priority\":2},{\"payload\":\"\\u0000\"}]')")[0]
        assert one(client, "select pgconductor.cancel(%s, 'no')", ids[0]) == (True,)
        assert one(client, "select pgconductor.retry(%s)", ids[0]) == (True,)
        assert one(client, "select state from pgconductor.result(%s)", ids[0]) == ("ready",)
        assert one(client, "select count(*) from pgconductor.executions_all") == (len(ids),)
        for statement in ("select * from pgconductor.tasks",
                          "select pgconductor.settle_plain('{}', '{}', '{}', '{}', '{}', 1)",
                          "select nextval('pgconductor.executions_id_seq')",
                          "create table pgconductor.mine ()", "select pgconductor.take(1, '{1}', '{0}')",
                          "select pgconductor.setup_session('writer', 1000)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                client.execute(statement)
        # Also when a day has no partition yet.
        client.execute("set pgconductor.fake_now = '2199-01-01'")
        assert one(client, "select pgconductor.cancel(%s)", ids[1]) == (True,)


def test_without_the_right_to_make_roles(own_cluster):
    """The owner of a database installs; the client role comes later, from an administrator."""
    cluster = own_cluster(migrate=False)
    admin = cluster.connect()
    admin.execute("create role app login")
    admin.execute("create database app owner app")
    dsn = cluster.dsn("app", user="app")
    trigger = "select pgconductor.declare_triggers('code:x', 'work', '[{\"invocable\": true}, {\"event\": \"e\", \"when\": \"true\"}]')"
    said = psql(dsn, schema())
    assert "may not create roles" in said
    with psycopg.connect(dsn, autocommit=True) as app:
        declare(app)
        one(app, "select pgconductor.invoke('work')")
        assert one(app, "select count(*) from pg_roles where rolname like 'pgconductor\\_%%'") == (0,)
        with pytest.raises(psycopg.Error, match="role pgconductor_filter, which could not be made here"):
            app.execute(trigger)
    admin.execute("create role pgconductor_client nologin")
    admin.execute("create role pgconductor_filter nologin")
    admin.execute("create role pgconductor_change nologin")
    assert "may not be pgconductor_filter" in psql(dsn, read("finish.sql"))
    admin.execute("grant pgconductor_filter, pgconductor_change to app")
    admin.execute("create role user1 login in role pgconductor_client")
    assert psql(dsn, read("finish.sql")) == ""
    with psycopg.connect(dsn, autocommit=True) as app:
        app.execute(trigger)
        app.execute("create table own as select 1 as x")
        # Not with the rights of the owner, who is asking.
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("select pgconductor.evaluate_filter('exists (select from public.own)', '{}', '{}')")
        # And once more, with all there.
        psql(dsn, "".join(read(f"functions/{f}") for f in sql_files("functions")) + read("finish.sql"))
        app.execute(trigger)
    with psycopg.connect(cluster.dsn("app", user="user1"), autocommit=True) as client:
        one(client, "select pgconductor.invoke('work')")


def test_in_a_schema_that_an_administrator_made(own_cluster):
    """A role that may create nothing but within the schema that it was given."""
    cluster = own_cluster(migrate=False)
    cluster.connect().execute("create role app login")
    admin = cluster.connect("test")
    admin.execute("create schema pgconductor authorization app")
    psql(cluster.dsn("test", user="app"), schema())
    with psycopg.connect(cluster.dsn("test", user="app"), autocommit=True) as app:
        declare(app)
        one(app, "select pgconductor.invoke('work')")


def test_settings(db):
    assert dict(db.execute("select name, value from pgconductor.settings where name not like '%digest%'").fetchall()) == {
        "keep_events_ms": "604800000", "keep_logs_ms": "604800000", "keep_triggers_ms": "600000", "max_payload": "16777216", "poll_interval_ms": "5000", "schema_version": str(len(sql_files("migrations")))}
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute("insert into pgconductor.settings values ('max_payload', '1')")


def test_hot_table_settings(db):
    """Each has its reason in the migration."""
    options = one(db, "select reloptions from pg_class where oid = 'pgconductor.executions'::regclass")[0]
    text = "".join(read(f"migrations/{f}") for f in sql_files("migrations"))
    for option in options:
        assert option.split("=")[0] in text
    assert {"vacuum_truncate=off", "autovacuum_vacuum_cost_delay=0"} <= set(options)
    assert one(db, "select attstorage from pg_attribute where attrelid = 'pgconductor.executions'::regclass and attname = 'payload'") in (
        ("e",), (b"e",))
