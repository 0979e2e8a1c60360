"""invoke, cancel, retry, show, list, ps, queues, tasks and nodes."""

import json
import pty
import os
import subprocess

import pytest

from support import paths
from support.server import clean_environment

TASKS = '''
shutdown_timeout = 1s
task "cat" { exec = "cat" }
task "fail" { exec = "echo first; echo second >&2; exit 65" }
task "slow" { exec = "sleep 60" }
'''


@pytest.fixture
def declared(db):
    db.execute("select pgconductor.declare_task('t')")
    return db


# ---- invoke ----

def test_invoke_prints_the_bare_id(cli, declared):
    done = cli("invoke", "t", '{"a": 1}', check=True)
    assert done.stderr == ""
    row = declared.execute("select payload::text, queue from pgconductor.executions_all where id = %s",
                           (int(done.stdout),)).fetchone()
    assert row == ('{"a": 1}', "default")


def test_payload_sources(cli, declared, short_tmp):
    with open(f"{short_tmp}/payload", "w", encoding="utf-8") as file:
        file.write('{"from": "file"}\n')
    for args, text, given in ((["t"], "null", None), (["t", "-"], '{"from": "stdin"}', '{"from": "stdin"}'),
                              (["t", f"@{short_tmp}/payload"], '{"from": "file"}\n', None),
                              (["t", '"\\u0000\\ud800"'], '"\\u0000\\ud800"', None), (["t", "1e400"], "1e400", None)):
        made = int(cli("invoke", *args, input=given, check=True).stdout)
        assert declared.execute("select payload::text from pgconductor.executions_all where id = %s",
                                (made,)).fetchone()[0] == text


def test_invoke_options(cli, declared):
    made = int(cli("invoke", "t", "1", "--queue", "other", "--priority", "-7", "--run-at", "2100-01-31 12:00+00",
                   check=True).stdout)
    row = declared.execute("select queue, priority, run_at = '2100-01-31 12:00+00' from pgconductor.executions_all"
                           " where id = %s", (made,)).fetchone()
    assert row == ("other", -7, True)


@pytest.mark.parametrize("args, status, why", [
    (["nothing"], 65, "pgconductor: invoke: task: 'nothing' was never declared"),
    (["t", "{"], 65, "pgconductor: invoke: payload: "),
    (["t", ""], 65, "pgconductor: invoke: payload: "),
    (["t", "@/nowhere/file"], 66, "pgconductor: invoke: /nowhere/file: No such file"),
    (["t", "--queue", "Bad Name"], 65, "pgconductor: invoke: queue: "),
    (["t", "--run-at", "infinity"], 65, "pgconductor: invoke: run_at: an infinite time"),
    (["t", "--run-at", "someday"], 65, "pgconductor: invoke: "),
    (["t", "--run-at", "2100-01-01", "--delay", "1s"], 65, "give one of them"),
    (["t", "--delay", "soon"], 64, "--delay: \"soon\" is not a duration"),
    (["t", "--priority", "high"], 64, "--priority: \"high\" is not a whole number"),
    (["t", "--priority", "40000"], 64, "--priority"),
    (["t", "--wait", "--timeout", "x"], 64, "--timeout: \"x\" is not a duration"),
])
def test_invoke_refuses(cli, declared, args, status, why):
    done = cli("invoke", *args)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert why in done.stderr
    assert declared.execute("select count(*) from pgconductor.executions_all").fetchone()[0] == 0


def test_stdin_with_a_nul(cli, declared):
    done = cli("invoke", "t", "-", input='"a\0b"')
    assert done.returncode == 65
    assert "NUL" in done.stderr


def test_batch(cli, declared, short_tmp):
    lines = [json.dumps({"n": n, "text": "ü\u0000"}) for n in range(2500)]
    lines[7] = '"\\u0000 \\ud800 1e400"'
    with open(f"{short_tmp}/batch.jsonl", "w", encoding="utf-8") as file:
        file.write("\n\n".join(lines) + "\n")
    done = cli("invoke", "t", "--batch", f"{short_tmp}/batch.jsonl", "--priority", "2", "--delay", "1h", check=True)
    ids = [int(line) for line in done.stdout.split()]
    rows = declared.execute("select id, payload::text, priority, state from pgconductor.executions_all order by id").fetchall()
    assert [r[0] for r in rows] == ids
    assert [r[1] for r in rows] == lines
    assert {(r[2], r[3]) for r in rows} == {(2, "delayed")}


def test_batch_is_all_or_nothing(cli, declared):
    done = cli("invoke", "t", "--batch", "-", input="1\n" * 1500 + "{\n")
    assert done.returncode == 65
    assert "-:1501: not JSON" in done.stderr
    done2 = cli("invoke", "none", "--batch", "-", input="1\n")
    assert done2.returncode == 65
    assert done.stdout == done2.stdout == ""
    assert declared.execute("select count(*) from pgconductor.executions_all").fetchone()[0] == 0


def test_priority_and_metadata(cli, declared):
    declared.execute("""select pgconductor.declare_task('t', options => '{"priority": 4}')""")

    def made(*args, input=None):
        found = cli("invoke", "t", *args, input=input, check=True).stdout.split()
        return declared.execute("select priority, metadata::text from pgconductor.executions where id = any (%s) order by id",
                                ([int(i) for i in found],)).fetchall()
    assert made() == [(4, None)] and made("1", "--priority", "0") == [(0, None)]
    assert made("1", "--metadata", "tenant=a\"b", "--metadata", "url=x=y") == [(4, '{"tenant":"a\\"b","url":"x=y"}')]
    assert made("1", "--metadata", '{"n": 1.50}') == [(4, '{"n": 1.50}')]
    assert made("--batch", "-", "--metadata", "k=v", input="1\n2\n") == [(4, '{"k":"v"}')] * 2
    assert made("--batch", "-", "--priority", "-1", input="1\n") == [(-1, None)]
    for bad in (["tenant"], ["=x"], ["{"], ["{}", "a=b"]):
        done = cli("invoke", "t", "1", *(word for one in bad for word in ("--metadata", one)))
        assert done.returncode == 64 and "--metadata" in done.stderr, bad
    assert "goes with --batch" in cli("invoke", "t", "--batch", "-", "--items", "--metadata", "a=b", input="{}").stderr


def test_keys(cli, declared):
    first = cli("invoke", "t", "1", "--dedupe-key", "k", "--dedupe-for", "1h", check=True).stdout
    assert cli("invoke", "t", "2", "--dedupe-key", "k", "--dedupe-for", "0", check=True).stdout == first
    late = cli("invoke", "t", "3", "--debounce", "1h", "--max-wait", "30m", check=True).stdout
    assert cli("invoke", "t", "4", "--debounce", "2h", "--dedupe-key", "t", check=True).stdout == late
    assert cli("invoke", "t", "5", "--throttle", "1h", check=True).stdout.strip().isdigit()
    for more in ([], ["--wait", "--timeout", "1s"]):
        done = cli("invoke", "t", "6", "--throttle", "1h", *more)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "pgconductor: invoke: throttled: nothing was created\n")
    assert declared.execute("select payload::text from pgconductor.executions order by id").fetchall() == [("1",), ("4",), ("5",)]
    assert cli("invoke", "t", "--debounce", "1h", "--delay", "1h").returncode == 65
    assert "--throttle: \"soon\" is not a duration" in cli("invoke", "t", "--throttle", "soon").stderr


def test_keys_of_a_batch(cli, declared):
    done = cli("invoke", "t", "--batch", "-", "--throttle", "1h", input="1\n2\n3\n", check=True)
    assert done.stdout.splitlines()[1:] == ["", ""] and done.stdout.splitlines()[0].isdigit()
    assert "throttled: nothing was created for 2 of 3, their lines are empty" in done.stderr
    done = cli("invoke", "t", "--batch", "-", "--dedupe-key", "k", input="1\n2\n", check=True)
    assert len(set(done.stdout.splitlines())) == 1


def test_items_of_a_batch(cli, declared):
    """Each with options of its own."""
    text = '{"payload": {"a": 12.50}, "dedupe_key": "k"}\n\n{}\n{"payload": 2, "dedupe_key": "k", "priority": 3}\n{"queue": "other"}\n'
    done = cli("invoke", "t", "--batch", "-", "--items", input=text, check=True)
    ids = [int(line) for line in done.stdout.splitlines()]
    assert ids[0] == ids[2] and declared.execute("select id, payload::text, queue from pgconductor.executions order by id").fetchall() == [
        (ids[0], '{"a": 12.50}', "default"), (ids[1], "null", "default"), (ids[3], "null", "other")]
    for line, why in (("3", "-:2: not an object"), ('{"prio": 1}', "items[1].prio: no such option")):
        done = cli("invoke", "t", "--batch", "-", "--items", input="{}\n" + line)
        assert done.returncode == 65 and why in done.stderr and "nothing was created" in done.stderr and done.stdout == ""
    assert "line 3 of -" in cli("invoke", "t", "--batch", "-", "--items", input="\n\n{}\n" + line).stderr
    assert cli("invoke", "t", "--batch", "-", "--items", "--queue", "q", input="{}").returncode == 64
    assert cli("invoke", "t", "--items").returncode == 64


def test_wait(cli, server):
    server(config=TASKS)
    text = '{"a": 12.50, "b": 123456789012345678901234567890, "c": "\\u0000"}'
    done = cli("invoke", "cat", text, "--wait", "--timeout", "20s")
    assert (done.returncode, done.stdout, done.stderr) == (0, text + "\n", "")
    done = cli("invoke", "fail", "--wait", "--timeout", "20s")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pgconductor: invoke: execution ")
    assert " failed: app: " in done.stderr and "second" in done.stderr
    done = cli("invoke", "slow", "--wait", "--timeout", "300ms")
    assert (done.returncode, done.stdout) == (75, "")
    assert "has not finished in time" in done.stderr


def test_wait_until_cancelled(cli, declared):
    waiting = subprocess.Popen([paths.PGCONDUCTOR, "invoke", "t", "--wait", "--db", declared.info.dsn],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())
    from support.wait import wait_for
    wait_for(lambda: declared.execute("select count(*) from pgconductor.executions_all").fetchone()[0] == 1, 10, "invoked")
    made = declared.execute("select id from pgconductor.executions_all").fetchone()[0]
    assert cli("cancel", str(made), "--reason", "not needed").stdout == f"{made} cancelled\n"
    _, err = waiting.communicate(timeout=10)
    assert waiting.returncode == 1
    assert f"execution {made} cancelled: cancelled: not needed" in err


# ---- cancel, retry ----

def test_cancel_and_retry_by_id(cli, declared):
    ids = [declared.execute("select pgconductor.invoke('t')").fetchone()[0] for _ in range(3)]
    done = cli("cancel", str(ids[0]), "999", str(ids[2]))
    assert done.returncode == 1
    assert done.stdout == f"{ids[0]} cancelled\n{ids[2]} cancelled\n"
    assert done.stderr == "pgconductor: cancel: 999: there is no unfinished execution with this id\n"
    done = cli("retry", str(ids[0]), str(ids[1]))
    assert done.returncode == 1
    assert done.stdout == f"{ids[0]} made ready\n"
    assert f"{ids[1]}: there is no finished execution with this id" in done.stderr
    assert declared.execute("select state from pgconductor.executions_all order by id").fetchall() == [
        ("ready",), ("ready",), ("cancelled",)]


def test_cancel_and_retry_many(cli, declared):
    declared.execute("select pgconductor.declare_task('other', 'q2')")
    declared.execute("select pgconductor.invoke('t') from generate_series(1, 2345)")
    declared.execute("select pgconductor.invoke('t', delay => '1 hour') from generate_series(1, 3)")
    declared.execute("select pgconductor.invoke('other') from generate_series(1, 4)")

    def count(**wanted):
        where = " and ".join(f"{k} = %({k})s" for k in wanted)
        return declared.execute(f"select count(*) from pgconductor.executions_all where {where}", wanted).fetchone()[0]
    assert cli("cancel", "--task", "t", "--before", "1h", check=True).stdout == "0 cancelled\n"
    assert cli("cancel", "--task", "t", "--before", "1999-01-01", check=True).stdout == "0 cancelled\n"
    assert cli("cancel", "--task", "t", "--state", "delayed", check=True).stdout == "3 cancelled\n"
    assert cli("cancel", "--queue", "default", "--reason", "cleaning", check=True).stdout == "2345 cancelled\n"
    assert cli("cancel", "--before", "0", check=True).stdout == "4 cancelled\n"
    assert count(state="cancelled") == 2352
    assert cli("retry", "--task", "t", check=True).stdout == "0 made ready\n"
    assert cli("retry", "--queue", "default", "--state", "cancelled", check=True).stdout == "2348 made ready\n"
    assert count(state="ready") == 2348
    assert count(state="cancelled") == 4


# ---- show, list, ps, queues, tasks, nodes ----

NASTY = "x\x1b[31m\x07\x9b\u202ey\r"


def nasty(db):
    """An execution whose payload, task, queue and error would move a terminal's cursor, if they were let."""
    made = db.execute("select pgconductor.invoke('t', %s::text)", (json.dumps({"a": NASTY}, ensure_ascii=False)
                                                                   .replace("\x1b", "\\u001b"),)).fetchone()[0]
    db.execute("select pgconductor.cancel(%s, %s)", (made, NASTY))
    return made


def assert_harmless(text):
    assert not any(ord(c) < 32 and c != "\n" or 0x7f <= ord(c) < 0xa0 or c == "\u202e" for c in text), repr(text)


def test_show(cli, declared):
    made = declared.execute("select pgconductor.invoke('t', '{\"a\": [1,\n2]}'::text, priority => 3)").fetchone()[0]
    done = cli("show", str(made), check=True)
    assert f"id        {made}\n" in done.stdout
    assert "state     ready\n" in done.stdout
    assert "priority  3\n" in done.stdout
    assert '{"a": [1,\n          2]}' in done.stdout
    document = json.loads(cli("show", str(made), "--json", check=True).stdout)
    assert (document["id"], document["payload"], document["state"]) == (str(made), {"a": [1, 2]}, "ready")
    done = cli("show", "999")
    assert (done.returncode, done.stdout) == (1, "")
    assert cli("show", "999", "--json").returncode == 1


def test_nothing_reaches_the_terminal_raw(cli, declared):
    made = nasty(declared)
    for args in (["show", str(made)], ["list"]):
        text = cli(*args, check=True).stdout
        assert_harmless(text)
        assert "\\x1b[31m" in text and "\\u202e" in text
    line = cli("list", "--json", check=True).stdout
    assert json.loads(line)["error"]["message"] == NASTY


def test_json_on_a_terminal_is_escaped(cli, declared, dsn):
    nasty(declared)
    master, slave = pty.openpty()
    process = subprocess.Popen([paths.PGCONDUCTOR, "list", "--json", "--db", dsn], stdout=slave, env=clean_environment())
    os.close(slave)
    text = b""
    try:
        while chunk := os.read(master, 65536):
            text += chunk
    except OSError:
        pass
    process.wait(10)
    os.close(master)
    line = text.decode().replace("\r\n", "\n")
    assert_harmless(line)
    assert json.loads(line)["error"]["message"] == NASTY


def test_errors_that_sql_cannot_read(cli, declared):
    """PostgreSQL's JSON functions fail on these; a list must not."""
    made = declared.execute("select pgconductor.invoke('t')").fetchone()[0]
    declared.execute("select pgconductor.cancel(%s)", (made,))
    error = r'{"data": {"message": "no", "x": [1, {"y": "}"}]}, "code": "app", "message": "a\u0000b\ud800 \ud83d\ude00\n\"q\"",' \
            r' "stack": "one\n  two"}'
    declared.execute("update pgconductor.finished_executions set error = %s::json where id = %s", (error, made))
    assert 'app: a\\u0000b\\ud800 😀\\n"q"' in cli("list", check=True).stdout
    shown = cli("show", str(made), check=True).stdout
    assert 'error     app: a\\u0000b\\ud800 😀\n          "q"\nstack     one\n            two\n' in shown


def test_list(cli, declared):
    declared.execute("select pgconductor.declare_task('other', 'q2')")
    ids = [declared.execute("select pgconductor.invoke(%s)", (task,)).fetchone()[0] for task in ["t", "other", "t", "t"]]
    declared.execute("select pgconductor.cancel(%s)", (ids[0],))

    def listed(*args):
        return [int(json.loads(line)["id"]) for line in cli("list", "--json", *args, check=True).stdout.splitlines()]
    assert listed() == ids[::-1]
    assert listed("--limit", "2") == ids[:1:-1]
    assert listed("--task", "t") == [ids[3], ids[2], ids[0]]
    assert listed("--queue", "q2") == [ids[1]]
    assert listed("--state", "cancelled") == [ids[0]]
    assert listed("--state", "ready", "--task", "t") == [ids[3], ids[2]]
    assert listed("--before", "1h") == []
    table = cli("list", check=True).stdout.splitlines()
    assert table[0].split() == ["id", "task", "queue", "state", "attempt", "created", "due", "finished", "ms", "error"]
    assert len(table) == 5


def test_tables_line_up_whatever_the_width_of_characters(cli, declared):
    declared.execute("insert into pgconductor.queues (name) values ('q')")
    declared.execute("select pgconductor.declare_task('other')")
    for reason in ("日本語", "é", "plain"):
        made = declared.execute("select pgconductor.invoke('other')").fetchone()[0]
        declared.execute("select pgconductor.cancel(%s, %s)", (made, reason))
    rows = cli("list", check=True).stdout.splitlines()
    assert len({row.index("cancelled: ") for row in rows[1:]}) == 1
    assert rows[-1].endswith("cancelled: 日本語")


def test_overviews(cli, server, db, wait_for):
    one = server(config=TASKS + 'task "set" { max_attempts = 9 queue = "idle" }\n')
    made = int(cli("invoke", "slow", check=True).stdout)
    cli("invoke", "cat", "--delay", "1h", check=True)
    wait_for(lambda: str(made) in cli("ps", check=True).stdout, 10, "ps shows the running execution")
    running = json.loads(cli("ps", "--json", check=True).stdout)
    assert (running["id"], running["task"], running["program"]) == (str(made), "slow", "slow")
    assert "slow" in cli("list", "--state", "running", check=True).stdout

    queues = {q["queue"]: q for q in map(json.loads, cli("queues", "--json", check=True).stdout.splitlines())}
    assert queues["default"] == {"queue": "default", "ready": 0, "running": 1, "delayed": 1, "suspended": 0, "unserved": 0,
                                 "paused": 0, "shards": 4, "nodes": 1, "state": "on"}
    assert cli("queues", check=True).stdout.splitlines()[0].split() == [
        "queue", "ready", "running", "delayed", "suspended", "unserved", "paused", "shards", "nodes", "state"]

    options = json.loads(cli("tasks", "set", "--json", check=True).stdout)["options"]
    assert options["max_attempts"] == {"value": 9, "source": "config"}
    assert options["remove_on_fail"] == {"value": "30d", "source": "default"}
    table = cli("tasks", check=True).stdout
    assert "max_attempts 9 (config)" in table and "idle (config)" in table and "60s" not in table
    lines = [line.split(maxsplit=1) for line in cli("tasks", "set", check=True).stdout.splitlines()]
    assert lines[0][0] == "setting" and lines[0][1].split() == ["value", "from"]
    found = {name: rest[0].rsplit(maxsplit=1) for name, *rest in lines if rest}
    assert found["max_attempts"] == ["9", "config"] and found["queue"] == ["idle", "config"]
    assert found["backoff"] == ["15s, 30s, 60s", "default"] and found["state"] == ["unserved"]
    assert cli("tasks", "none").returncode == 1

    nodes = [json.loads(line) for line in cli("nodes", "--json", check=True).stdout.splitlines()]
    assert [(n["pid"], n["alive"]) for n in nodes] == [(one.pid, True)]
    assert "default/cat" in nodes[0]["serves"]
    assert str(one.pid) in cli("nodes", check=True).stdout
    cli("cancel", str(made), check=True)


def test_a_client_role_may_do_what_clients_do(cluster, cli, declared, dsn):
    with cluster.connect() as admin:
        admin.execute("do $$ begin create role someone login; exception when duplicate_object then null; end $$")
        admin.execute("grant pgconductor_client to someone")
    own = dsn.replace("user=postgres", "user=someone")
    made = cli("invoke", "t", dsn=own, check=True).stdout.strip()
    assert made in cli("list", dsn=own, check=True).stdout
    cli("cancel", made, dsn=own, check=True)
    cli("retry", made, dsn=own, check=True)
    cli("cancel", "--task", "t", dsn=own, check=True)
    cli("show", made, dsn=own, check=True)
    done = cli("queues", dsn=own)
    assert done.returncode == 77
    assert "permission denied" in done.stderr
