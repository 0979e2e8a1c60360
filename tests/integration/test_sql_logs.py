"""Lines of executions: how they are written and read, and when they go."""

import datetime

import psycopg
import pytest

from support.sqlnode import one, session

START = datetime.datetime(2031, 3, 15, 12, 0, tzinfo=datetime.timezone.utc)


@pytest.fixture
def pen(connect):
    """A writer's session, as the engine has it; it is the 15th of March 2031."""
    conn = session(connect, "writer")
    set_time(conn, START)
    conn.execute("select pgconductor.ensure_partition(pgconductor.now())")
    return conn


def set_time(conn, moment):
    conn.execute("select set_config('pgconductor.fake_now', %s, false)", (str(moment),))


def write(conn, *lines, now_ms=0):
    """lines: (execution, message), or with attempt, at_ms, level and fields behind it."""
    full = [line + (1, 0, "info", None)[len(line) - 2:] for line in lines]
    ids, messages, attempts, times, levels, fields = (list(column) for column in zip(*full))
    conn.execute("select pgconductor.write_logs(%s::bigint[], %s::int[], %s::bigint[], %s::text[], %s::text[], %s::json[], %s)",
                 (ids, attempts, times, levels, messages, fields, now_ms))


def read(db, execution, *args, columns="message"):
    marks = "".join(", %s" for _ in args)
    rows = db.execute(f"select {columns} from pgconductor.execution_logs(%s{marks})", (execution, *args)).fetchall()
    return [r[0] for r in rows] if columns == "message" else rows


def log_days(db):
    return [r[0] for r in db.execute("select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
                                     " where i.inhparent = 'pgconductor.logs'::regclass and c.relname < 'logs_2032'"
                                     " and c.relname > 'logs_2031' order by 1").fetchall()]


def upkeep(conn):
    """Run what is to be done, as the master does; returns the statements."""
    statements = [r[0] for r in conn.execute("select pgconductor.upkeep()").fetchall()]
    for statement in statements:
        while "expire" in statement and one(conn, statement)[0] > 0:
            pass
        if "expire" not in statement:
            conn.execute(statement)
    return statements


def test_lines_come_back_as_they_were(db, pen):
    write(pen, (7, "one", 1, 600, "warn", '{"b": 1.50,  "a": [1e400]}'), (8, "another's"), (7, "two\n\tof it \x1b[0m é", 2, 1000),
          (7, "", 2, 1000, "error"), now_ms=1000)
    assert read(db, 7, columns="at, attempt, level, message, fields::text") == [
        (START - datetime.timedelta(milliseconds=400), 1, "warn", "one", '{"b": 1.50,  "a": [1e400]}'),
        (START, 2, "info", "two\n\tof it \x1b[0m é", None), (START, 2, "error", "", None)]
    assert read(db, 8) == ["another's"]
    assert read(db, 9) == []


def test_reading_on_from_a_line(db, pen):
    write(pen, *[(7 + n % 2, str(n)) for n in range(2500)])
    lines = read(db, 7, columns="seq, message")
    assert [m for _, m in lines] == [str(n) for n in range(0, 2000, 2)], "a thousand at once, in order"
    assert read(db, 7, lines[-1][0]) == [str(n) for n in range(2000, 2500, 2)]
    assert read(db, 7, lines[5][0], 3) == ["12", "14", "16"]
    assert len(read(db, 7, 0, None)) == 1250
    write(pen, (7, "the last"))
    assert read(db, 7, lines[-1][0])[-1] == "the last"


def test_a_day_without_a_partition(db, pen):
    with pytest.raises(psycopg.Error) as caught:
        write(pen, (7, "too early", 1, -86400000))
    assert caught.value.sqlstate == "23514"
    # Over midnight: a line belongs to the day on which it came.
    pen.execute("select pgconductor.ensure_partition(pgconductor.now() - interval '1 day')")
    write(pen, (7, "yesterday", 1, -86400000), (7, "today"))
    assert read(db, 7) == ["yesterday", "today"]
    assert db.execute("select tableoid::regclass::text from pgconductor.logs order by seq").fetchall() == [
        ("pgconductor.logs_20310314",), ("pgconductor.logs_20310315",)]


@pytest.mark.parametrize("keep,gone", [("1d", 2), ("7d", 8), ("30d", 31)])
def test_days_go_when_they_are_past(db, pen, connect, keep, gone):
    control = session(connect, "control")
    ms = int(keep[:-1]) * 86400000
    db.execute("select pgconductor.set_setting('keep_logs_ms', %s)", (str(ms),))
    write(pen, (7, "kept for a while"))
    for days in range(gone):
        set_time(control, START.replace(hour=23, minute=59) + datetime.timedelta(days=days))
        upkeep(control)
        assert read(db, 7) == ["kept for a while"], days
    set_time(control, START.replace(hour=0) + datetime.timedelta(days=gone))
    statements = upkeep(control)
    assert read(db, 7) == []
    detach = [s for s in statements if "detach" in s and "pgconductor.logs_2031" in s]
    assert detach[0] == "alter table pgconductor.logs detach partition pgconductor.logs_20310315 concurrently"
    assert "logs_20310315" not in log_days(db) and log_days(db)[-1] == f"logs_{START + datetime.timedelta(days=gone + 7):%Y%m%d}"


def test_lines_are_found_by_the_index(db, pen):
    for execution in range(100, 120):
        write(pen, *[(execution, "x" * 50)] * 500)
    db.execute("analyze pgconductor.logs")
    plan = "\n".join(r[0] for r in db.execute("explain select * from pgconductor.logs l where l.execution = 105 and l.seq > 10"
                                              " order by l.seq limit 1000").fetchall())
    assert "logs_20310315_execution_seq_idx" in plan and "Seq Scan on logs_20310315" not in plan, plan
