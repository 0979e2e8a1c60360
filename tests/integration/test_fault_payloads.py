"""Payloads and results that break JSON libraries, and those at the limits: what comes out is byte for byte what went in,
or there is an error that was meant to be."""

import psycopg
import pytest

from support import faults
from support.wait import wait_for

LIMIT = 16 << 20
# Between what comes with a poll and what is fetched later, and what does not fit into a row of a table's page.
EDGES = [8192 + n for n in range(-8, 9)] + [2000, 65535, 65536, 65537, 1 << 20]

TEXTS = {
    "NUL": r'{"a":"\u0000","\u0000":1}',
    "escaped NUL": r'"\\u0000 \\\u0000"',
    "high surrogate": r'"\ud800"',
    "low surrogate": r'{"\udc00":"x\udfff"}',
    "surrogates the wrong way round": r'"\udc00\ud800"',
    "pair": r'"\ud83d\ude00"',
    "not a pair": r'"\ud83d\u0041"',
    "1e400": "1e400",
    "-1e-400": "[-1e-400, 1E+400, 1.0e0, -0, 0.10]",
    "2^63": "9223372036854775808",
    "-2^63-1": "[-9223372036854775809, 18446744073709551616]",
    "many digits": "0." + "123456789" * 40,
    "white space": ' \t\n{ "b" :1 ,\r\n"a": [ ] }  ',
    "one name twice": '{"a":1,"a":2,"b":3,"a":4}',
    "order of names": '{"z":1,"a":2,"M":3,"":4}',
    "slash": r'"\/ / \b\f\n\r\t\" \\"',
    "four bytes": '"\U0001f600\u00e9\u2028\u2029\x7f"',
    "null": "null",
    "empty string": '""',
    "deep": "[" * 4000 + "]" * 4000,
    "what looks like quoting": r"""{"it's":"$1 $$ :name \\x41 %s %(a)s E'\\'"}""",
}


def text_of(size, letter="x"):
    """A JSON string of so many bytes."""
    count, rest = divmod(size - 2, len(letter.encode()))
    return '"' + letter * count + "y" * rest + '"'


@pytest.fixture
def node(server, ledger, db):
    one = server(config=faults.configuration(ledger, "a"))
    wait_for(lambda: sum(faults.shares(db).values()) == 4, 10, "the node has its shards")
    return one


def invoke(db, text, task="echo"):
    return db.execute("select pgconductor.invoke(%s, %s::text)", (task, text)).fetchone()[0]


def finished(db, ids, timeout=60):
    """id -> (state, payload, result, error's code) as text, once all are finished."""
    def look():
        rows = db.execute("select id, state, payload::text, result::text, error->>'code'"
                          " from pgconductor.finished_executions where id = any (%s)", (list(ids),)).fetchall()
        assert len(rows) == len(ids), f"{len(rows)} of {len(ids)}"
        return {row[0]: row[1:] for row in rows}
    return wait_for(look, timeout, "all are finished", poll=0.1)


def test_what_is_strange_comes_back_as_it_was(node, db):
    ids = {invoke(db, text): name for name, text in TEXTS.items()}
    rows = finished(db, ids)
    for execution, name in ids.items():
        assert rows[execution] == ("completed", TEXTS[name], TEXTS[name], None), name


def test_what_is_strange_in_a_batch(node, db):
    """As items of one array; white space around an item is not part of it."""
    names = list(TEXTS)
    items = "[" + ",".join('{"payload":' + TEXTS[name] + "}" for name in names) + "]"
    ids = db.execute("select pgconductor.invoke_batch('echo', %s)", (items,)).fetchone()[0]
    rows = finished(db, ids)
    for execution, name in zip(ids, names):
        text = TEXTS[name].strip()
        state, payload, result, code = rows[execution]
        assert (state, payload.strip(), result, code) == ("completed", text, payload, None), name


def test_around_the_sizes_where_storage_changes(node, db):
    ids = {invoke(db, text_of(size, letter)): (size, letter) for size in EDGES for letter in ("x", "\u00e9", "\u2028")}
    rows = finished(db, ids)
    for execution, which in ids.items():
        state, payload, result, _ = rows[execution]
        assert state == "completed" and payload == text_of(*which) == result, which


def test_exactly_the_limit(node, db):
    """Bytes are counted, not characters."""
    for letter in ("x", "\u00e9"):
        text = text_of(LIMIT, letter)
        assert len(text.encode()) == LIMIT
        execution = invoke(db, text)
        assert finished(db, [execution])[execution] == ("completed", text, text, None)
    text = text_of(LIMIT)
    ids = db.execute("select pgconductor.invoke_batch('echo', %s)",
                     ('[{"payload":1},{"payload":' + text + "}]",)).fetchone()[0]
    assert finished(db, ids)[ids[1]] == ("completed", text, text, None)


@pytest.mark.parametrize("batch", [False, True])
def test_one_byte_over_the_limit_is_refused(db, batch):
    db.execute("select pgconductor.declare_task('echo')")
    text = text_of(LIMIT + 1)
    with pytest.raises(psycopg.Error) as refused:
        if batch:
            db.execute("select pgconductor.invoke_batch('echo', %s)", ('[{"payload":1},{"payload":' + text + "}]",))
        else:
            invoke(db, text)
    assert refused.value.sqlstate == "PC003"
    said = f"{refused.value.diag.message_primary} {refused.value.diag.message_detail}"
    assert str(LIMIT) in said and str(LIMIT + 1) in said, said
    assert db.execute("select count(*) from pgconductor.executions_all").fetchone() == (0,)


def test_a_result_of_exactly_the_limit_and_one_over(node, db):
    fits, over = invoke(db, str(LIMIT), "sized"), invoke(db, str(LIMIT + 1), "sized")
    rows = finished(db, [fits, over])
    assert rows[fits] == ("completed", str(LIMIT), text_of(LIMIT), None)
    assert rows[over] == ("failed", str(LIMIT + 1), None, "oversize")
    # It would be too large again: there is no second attempt.
    assert db.execute("select attempt from pgconductor.finished_executions where id = %s", (over,)).fetchone() == (1,)
    # The handler is none the worse for it.
    after = invoke(db, "1")
    assert finished(db, [after])[after][0] == "completed"


def test_what_is_not_json_is_refused(db):
    db.execute("select pgconductor.declare_task('echo')")
    for text in ("", "{", "01", "'a'", '"\\x"', '"\\u12"', "[1,]", "NaN", '"a\tb"', "1 2"):
        with pytest.raises(psycopg.Error) as refused:
            invoke(db, text)
        assert refused.value.sqlstate == "PC002", text
        assert "payload" in refused.value.diag.message_primary


def test_by_the_command_line(node, cli, short_tmp):
    for name, text in list(TEXTS.items()) + [("a large one", text_of(LIMIT))]:
        with open(f"{short_tmp}/payload", "w", encoding="utf-8", newline="") as file:
            file.write(text)
        done = cli("invoke", "echo", f"@{short_tmp}/payload", "--wait", check=True)
        # Text mode makes one character of \r\n.
        assert done.stdout.strip() == text.replace("\r\n", "\n").strip(), name
