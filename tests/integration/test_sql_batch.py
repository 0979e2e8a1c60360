"""invoke_batch: all or none, in order, and every payload exactly as it was."""

import json
import random

import psycopg
import pytest

from support.sqlnode import declare, one

STRINGS = [r"\u0000", r"\ud800", r"\udc00\ud800", r"\\u0000", r"\\\u0000", r"\\\\", r"\"", r"\\\"", r"\/", r"\b\f\n\r\t", "é\U0001f600",
           "<0>", "<0>0", r"<0>\u0000<0>1<1>", "<", "'", "$1", "%s", r"\u003c0>", "payload", '\\"payload\\":', "{}", "]}"]
VALUES = ["null", "true", "12.50", "1e400", "-0", "9223372036854775808", "[]", "{}", "[1, 2]", '{"a" : {"b":[ ]}}',
          '{"payload":1,"queue":"x"}', '{"a":1,"a":2}']


@pytest.fixture(autouse=True)
def task(db):
    declare(db)


def payloads(db, ids):
    rows = dict(db.execute("select id, payload::text from pgconductor.executions where id = any (%s)", (ids,)).fetchall())
    return [rows[i] for i in ids]


def batch(db, items, task="work"):
    return one(db, "select pgconductor.invoke_batch(%s, %s::json)", task, items)[0]


def exact(db, texts, shape='{"payload":%s}'):
    ids = batch(db, "[" + ",".join(shape % t for t in texts) + "]")
    assert payloads(db, ids) == texts
    return ids


def test_ids_in_order_of_items(db):
    texts = [str(n) for n in range(1000)]
    ids = exact(db, texts)
    assert ids == sorted(ids)
    ids = exact(db, texts, '{"payload":%s,"priority":1}')
    assert ids == sorted(ids)
    assert one(db, "select count(distinct shard) from pgconductor.executions") == (4,)


@pytest.mark.parametrize("shape", ['{"payload":%s}', '{"payload": %s}', ' { "payload" : %s } ', '{"payload":%s,"priority":0}',
                                   '{"metadata":"\\u0000","payload":%s}'])
def test_every_payload_is_kept_exactly(db, shape):
    strings = [f'"{s}"' for s in STRINGS] + [f'{{"k{s}":["{s}"]}}' for s in STRINGS]
    for text in strings + VALUES:
        exact(db, [text], shape)
    exact(db, strings + VALUES, shape)


def test_random_payloads_are_kept_exactly(db, seed, scale):
    rng = random.Random(seed)
    for _ in range(scale(30, 500)):
        texts = ['"' + "".join(rng.choice(STRINGS) for _ in range(rng.randrange(1, 6))) + '"' for _ in range(rng.randrange(1, 20))]
        exact(db, texts, rng.choice(['{"payload":%s}', '{"payload":%s,"delay":"1h"}']))


def test_left_out_and_null_are_json_null(db):
    ids = batch(db, '[{},{"payload":null},{"priority":1},{"payload":null,"priority":1}]')
    assert payloads(db, ids) == ["null"] * 4
    assert payloads(db, batch(db, '[{"payload":null},{"payload":null}]')) == ["null"] * 2


def test_options_of_items(db):
    ids = batch(db, json.dumps([
        {"payload": 1}, {"payload": 2, "queue": "other", "priority": -3, "metadata": {"a": 1}}, {"delay": "1 hour"},
        {"run_at": "2199-01-01T00:00:00Z"}, {"delay": "0", "priority": None, "queue": None, "run_at": None}]))
    rows = db.execute("select e.queue, s.queue, priority, lane, waiting is not null, metadata::text, run_at > now() + interval '59 min'"
                      " from pgconductor.executions e join pgconductor.shards s on s.id = e.shard"
                      " where e.id = any (%s) order by e.id", (ids,)).fetchall()
    assert rows == [("default", "default", 0, 0, False, None, False), ("other", "other", -3, 3, False, '{"a": 1}', False),
                    ("default", "default", 0, 0, True, None, True), ("default", "default", 0, 0, True, None, True),
                    ("default", "default", 0, 0, False, None, False)]
    assert one(db, "select count(*) from pgconductor.lanes l join pgconductor.shards s on s.id = l.shard"
                   " where s.queue = 'other' and l.lane = 3") == (1,)


def test_nothing_is_fine(db):
    assert batch(db, "[]") == []


@pytest.mark.parametrize("items,code,message", [
    ("null", "PC009", "items: not a JSON array but null"),
    ('{"payload":1}', "PC009", "items: not a JSON array but object"),
    ('"x"', "PC009", "items: not a JSON array but string"),
    ("[1]", "PC009", "items[0]: not an object but number"),
    ('[{"payload":1},[]]', "PC009", "items[1]: not an object but array"),
    ('[{"payload":1},{"payload":1,"priorty":1}]', "PC009", "items[1].priorty: no such option"),
    ('[{"payload":1,"priority":"high"}]', "PC009", 'items[0].priority: "high" is not between -32768 and 32767'),
    ('[{"payload":1,"priority":40000}]', "PC009", "items[0].priority: 40000 is not between -32768 and 32767"),
    ('[{"queue":"A\\n"}]', "PC004", 'items[0].queue: "A\\n" is not a queue\'s name'),
    ('[{"queue":7}]', "PC004", "items[0].queue: 7 is not a queue's name"),
    ('[{},{"delay":"-1s"}]', "PC005", "items[1].delay: -00:00:01 is not between 0 and 1000 years"),
    ('[{"delay":"soon"}]', "PC005", 'items[0].delay: invalid input syntax for type interval: "soon"'),
    ('[{"delay":5}]', "PC005", "items[0].delay: 5 is not a string"),
    ('[{"run_at":"infinity"}]', "PC005", "items[0].run_at: an infinite time"),
    ('[{"run_at":"2199-01-01","delay":"1s"}]', "PC005", "items[0]: run_at, delay: give one of them, not both"),
])
def test_bad_items_are_named(db, items, code, message):
    with pytest.raises(psycopg.Error) as caught:
        batch(db, items)
    assert (caught.value.sqlstate, caught.value.diag.message_primary) == (code, "pgconductor.invoke_batch: " + message)
    assert one(db, "select count(*) from pgconductor.executions") == (0,)


@pytest.mark.parametrize("items", ["[]", '[{"payload":1}]', '[{"payload":1,"priority":1}]', '[{"queue":"other"}]', '[{"payload":"\\u0000"}]'])
def test_task_must_be_declared(db, items):
    with pytest.raises(psycopg.Error) as caught:
        batch(db, items, "typo")
    assert caught.value.sqlstate == "PC001"
    assert "'typo' was never declared" in str(caught.value)


def test_null_items(db):
    with pytest.raises(psycopg.Error) as caught:
        db.execute("select pgconductor.invoke_batch('work', null)")
    assert caught.value.sqlstate == "PC009"


@pytest.mark.parametrize("shape", ['{"payload":%s}', '{"payload":%s,"priority":1}', '{"payload":%s,"metadata":"\\u0000"}'])
def test_size_limit_is_exact(db, shape):
    db.execute("select pgconductor.set_setting('max_payload', '2000')")
    for text in ('"' + "x" * 1998 + '"', '"' + "é" * 999 + '"', '"' + r"\u0000" * 333 + '"'):
        exact(db, ["1", text, "2"], shape)
        with pytest.raises(psycopg.Error) as caught:
            batch(db, "[" + ",".join(shape % t for t in ("1", text[:-1] + 'x"')) + "]")
        assert caught.value.sqlstate == "PC003"
    assert one(db, "select max(octet_length(payload::text)) from pgconductor.executions") == (2000,)


def test_large_payloads(db):
    texts = ['"' + c * 1000000 + '"' for c in "ab"] + [r'"\u0000' + "c" * 1000000 + '"']
    exact(db, texts)
