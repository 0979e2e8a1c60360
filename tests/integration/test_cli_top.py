"""pgconductor top: what it counts, at what price, and how it treats the terminal."""

import json
import os
import re
import signal
import subprocess
import termios

import pytest

from support import paths, processes
from support.engine import batch, invoke
from support.server import clean_environment
from support.terminal import Terminal
from support.wait import wait_for

CONFIG = '''
shutdown_timeout = 1s
task "cat" { exec = "cat" }
task "fail" { exec = "exit 65" }
task "slow" { exec = "sleep 60" queue = "heavy" }
queue "heavy" { concurrency = 2 }
'''


def top(dsn, *args, **options):
    return Terminal([paths.PGCONDUCTOR, "top", "--db", dsn, "--interval", "200ms", *args], **options)


def queue_line(lines, name):
    """The cells of a queue's line."""
    return next(line.split() for line in lines if line.split()[:1] == [name])


def test_once_counts_everything(cli, server, db):
    server(config=CONFIG)
    slow = [invoke(db, "slow") for _ in range(4)]
    invoke(db, "cat", delay="1 hour")
    db.execute("select pgconductor.declare_task('nobody')")
    invoke(db, "nobody")

    def look():
        seen = json.loads(cli("top", "--json", check=True).stdout)
        queues = {q["queue"]: q for q in seen["queues"]}
        heavy, default = queues["heavy"], queues["default"]
        assert (heavy["ready"], heavy["running"]) == (2, 2), queues
        assert (default["ready"], default["delayed"], default["unserved"]) == (0, 1, 1), queues
        assert heavy["more"] is False and heavy["oldest_seconds"] > 0 and default["oldest_seconds"] is None
        return seen
    seen = wait_for(look, 15, "top counts what there is")
    assert seen["nodes"] == 1
    assert [r["task"] for r in seen["running"]] == ["slow", "slow"]
    assert {r["id"] for r in seen["running"]} <= {str(i) for i in slow}
    assert all(processes.alive(r["pid"]) for r in seen["running"])
    lines = cli("top", "--once", check=True).stdout.splitlines()
    assert re.fullmatch(r"nodes 1  ready 2  running 2  delayed 1  suspended 0  unserved 1  done \S+/s  failed \S+/s  paused 0", lines[0])
    assert lines[2].split() == ["queue", "ready", "running", "delayed", "suspended", "unserved", "done/s", "failed/s", "oldest",
                                "paused"]
    assert queue_line(lines, "heavy")[1:6] == ["2", "2", "0", "0", "0"]
    assert sum("slow" in line for line in lines) == 2


def test_what_is_paused(cli, server, db):
    """Put aside, in a queue of which nothing is read, or in the shard of a limited task; what runs goes on."""
    server(config=CONFIG + 'task "few" { exec = "cat" concurrency = 1 }\n')
    for _ in range(3):
        invoke(db, "slow")
    wait_for(lambda: db.execute("select count(*) from pgconductor.running").fetchone() == (2,), 15, "two run")
    for what in ("task cat", "task few", "queue heavy"):
        cli("pause", *what.split(), check=True)
    for task, n in (("cat", 4), ("few", 2)):
        batch(db, task, n)

    def look():
        found = {q["queue"]: q for q in json.loads(cli("top", "--json", check=True).stdout)["queues"]}
        names = ("ready", "running", "unserved", "paused")
        assert [found["default"][n] for n in names] == [0, 0, 0, 6], found
        assert [found["heavy"][n] for n in names] == [0, 2, 0, 1], found
        assert found["default"]["oldest_seconds"] is None
        return True
    wait_for(look, 15, "they are paused")
    for what in ("task cat", "task few"):
        cli("resume", *what.split(), check=True)
    wait_for(lambda: db.execute("select count(*) from pgconductor.finished_executions").fetchone() == (6,), 15, "they ran")


def test_ended_each_second(cli, server, db):
    server(config=CONFIG)
    done = [invoke(db, "cat") for _ in range(6)] + [invoke(db, "fail") for _ in range(3)]
    wait_for(lambda: db.execute("select count(*) from pgconductor.finished_executions").fetchone()[0] == len(done), 15)
    default = next(q for q in json.loads(cli("top", "--json", "--interval", "100s", check=True).stdout)["queues"]
                   if q["queue"] == "default")
    assert default["completed_per_second"] == pytest.approx(0.06)
    assert default["failed_per_second"] == pytest.approx(0.03)


def test_live_rates_come_from_successive_looks(server, db, dsn):
    """Each execution is counted in one look, and in no other."""
    server(config=CONFIG)
    with Terminal([paths.PGCONDUCTOR, "top", "--db", dsn, "--interval", "1h"]) as t:
        t.wait_screen("q quit")
        for n in (5, 8):
            before = db.execute("select now()").fetchone()[0]
            made = [invoke(db, "cat") for _ in range(n)]
            wait_for(lambda m=made: db.execute("select count(*) from pgconductor.finished_executions where id = any (%s)",
                                               (m,)).fetchone()[0] == len(m), 15)
            drawn = t.output.count("\x1b[H")
            t.send(" ")
            wait_for(lambda d=drawn: t.output.count("\x1b[H") > d and t.screen[-1].startswith("q quit"), 10, "drawn again")
            rate = float(queue_line(t.screen, "default")[6])
            longest = (db.execute("select now()").fetchone()[0] - before).total_seconds()
            assert rate > 0.9 * n / (longest + 3)
        drawn = t.output.count("\x1b[H")
        t.send(" ")
        wait_for(lambda: t.output.count("\x1b[H") > drawn and t.screen[-1].startswith("q quit"), 10, "drawn again")
        assert queue_line(t.screen, "default")[6:8] == ["0", "0"]


def test_a_large_backlog_is_not_counted(cli, db):
    """A look reads so many rows at most, of 50,000 that wait, and never the table as a whole."""
    db.execute("select pgconductor.declare_task('t')")
    batch(db, "t", 25000)
    batch(db, "t", 25000, '{"delay": "1 hour"}')
    db.execute("analyze pgconductor.executions")

    def read():
        db.execute("select pg_stat_clear_snapshot()")
        row = db.execute("select seq_scan, coalesce(seq_tup_read, 0), (select sum(idx_tup_read) from pg_stat_user_indexes i"
                         " where i.relid = s.relid) from pg_stat_user_tables s where relname = 'executions'"
                         " and schemaname = 'pgconductor'").fetchone()
        return row[0], int(row[1] + row[2])
    wait_for(lambda: read() == read() and read()[1] >= 0, 10)
    scans, before = read()
    out = cli("top", "--once", check=True).stdout
    assert queue_line(out.splitlines(), "default")[1:6] == [">10000", "0", ">10000", "0+", "0"]
    queue = json.loads(cli("top", "--json", check=True).stdout)["queues"][0]
    assert (queue["ready"], queue["delayed"], queue["more"]) == (10000, 10000, True)
    wait_for(lambda: read()[1] > before, 15, "the statistics have arrived")
    after = read()
    assert after[0] == scans
    assert after[1] - before < 2 * 2 * 10100


def test_q_gives_the_terminal_back(dsn, db):
    with top(dsn) as t:
        t.wait_screen("q quit")
        assert not t.is_as_before()
        assert "\x1b[?1049h" in t.output and "\x1b[?1049l" not in t.output
        t.send("xyq")
        assert t.wait_exit() == 0
        assert t.output.rstrip().endswith("\x1b[?25h\x1b[?1049l")
        assert t.is_as_before()


@pytest.mark.parametrize("how", ["^C", signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_give_the_terminal_back(dsn, db, how):
    with top(dsn) as t:
        t.wait_screen("q quit")
        if how == "^C":
            t.send("\x03")
        else:
            os.kill(t.pid, how)
        assert t.wait_exit() == -(signal.SIGINT if how == "^C" else how)
        assert t.output.endswith("\x1b[?1049l")
        assert t.is_as_before()


def test_stopped_and_continued_by_a_shell(dsn, db):
    with Terminal(["bash", "--norc", "--noediting", "-i"], env={"PS1": "prompt> "}) as t:
        t.wait("prompt> ")
        before = termios.tcgetattr(t.slave)
        t.send(f"{paths.PGCONDUCTOR} top --interval 200ms --db '{dsn}'\n")
        t.wait_screen("q quit")
        t.send("\x1a")
        t.wait("Stopped")
        wait_for(lambda: termios.tcgetattr(t.slave) == before, 5, "the terminal is the shell's")
        drawn = t.output.count("\x1b[H")
        t.send("fg\n")
        wait_for(lambda: t.output.count("\x1b[H") > drawn + 1, 10, "it draws again")
        assert termios.tcgetattr(t.slave) != before
        t.send("q")
        wait_for(lambda: termios.tcgetattr(t.slave) == before, 10, "the terminal is the shell's")
        t.send("exit $?\n")
        assert t.wait_exit() == 0


def test_resize(dsn, db):
    for n in range(40):
        db.execute("insert into pgconductor.queues (name) values (%s)", (f"queue_{n:02}",))
    with top(dsn, rows=24, columns=80) as t:
        t.wait_screen("q quit")
        assert len(t.screen) <= 24
        t.resize(12, 30)
        wait_for(lambda: t.screen[-1] == "q quit  space look now" and len(t.screen) <= 12 and
                 max(len(line) for line in t.screen) <= 30, 10, "it fits")
        t.resize(60, 100)
        t.wait_screen("queue_39")


def test_a_lost_connection_is_said_and_mended(dsn, db):
    with top(dsn) as t:
        t.wait_screen("q quit")
        db.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgconductor top'")
        t.wait("database: .*(terminat|lost|clos)")
        wait_for(lambda: "database:" not in t.screen[0] and t.screen[-1].startswith("q quit"), 10, "it goes on")
        t.send("q")
        assert t.wait_exit() == 0


def test_without_a_terminal_and_without_a_schema(cli, dsn, db, empty_dsn):
    with top(dsn, stdin=subprocess.DEVNULL) as t:
        assert t.wait_exit() == 0
        assert t.text.startswith("nodes 0  ready 0 ") and "\x1b" not in t.output
    done = cli("top", dsn=empty_dsn)
    assert done.returncode == 78
    with top(empty_dsn) as t:
        assert t.wait_exit() == 78
        assert "pgconductor migrate" in t.text and "\x1b" not in t.output
        assert t.is_as_before()
    assert cli("top", "--interval", "1ms").returncode == 64
    done = subprocess.run([paths.PGCONDUCTOR, "top", "--db", "host=/nowhere"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=clean_environment())
    assert done.returncode == 69
