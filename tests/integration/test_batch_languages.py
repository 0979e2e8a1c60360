"""Batches in each language: the same tasks, written in it (support/batch_c.c says which), on a real server."""

import json
import os
import sys

import pytest

from support import paths
from support.engine import result, value, wait_empty
from support.node import node_tree  # noqa: F401
from support.wait import wait_for

SUPPORT = f"{paths.SRC}/tests/support"
READY = ["c", "node", "python", "python-async"]


def quoted(words):
    return ", ".join(json.dumps(word) for word in words)


@pytest.fixture(params=READY)
def language(request, server, ledger, short_tmp):
    """A server whose program is in that language."""
    env = {"LEDGER": ledger.path}
    if request.param == "c":
        command = [paths.built("tests/support/batch_c")]
    elif request.param == "node":
        os.symlink(f"{request.getfixturevalue('node_tree')}/node_modules", f"{short_tmp}/node_modules")
        with open(f"{SUPPORT}/batch_node.mjs", encoding="utf-8") as source, \
                open(f"{short_tmp}/batch_node.mjs", "w", encoding="utf-8") as copy:
            copy.write(source.read())
        command = ["node", f"{short_tmp}/batch_node.mjs"]
    else:
        command = [sys.executable, f"{SUPPORT}/batch_python.py", request.param]
        env |= {"PYTHONPATH": f"{paths.SRC}/proto/python"}
    server(config=f"""
handler "batches" {{ command = {{ {quoted(command)} }} env = {{ {quoted(f"{k}={v}" for k, v in env.items())} }} }}
queue "default" {{ handler = "batches" kill_grace = "5s" }}
""")
    return request.param


def invoke(db, task, *payloads):
    return value(db, "select pgconductor.invoke_batch(%s, %s::json)", task, json.dumps([{"payload": p} for p in payloads]))


def outcomes(db, ids):
    """(state, result, the error's message and type)"""
    rows = [result(db, i) for i in ids]
    return [(state, outcome, error and error["message"]) for state, outcome, error in rows]


def starts(ledger):
    return {entry.id: sorted(int(i) for i in entry.rest.split()) for entry in ledger.entries("start")}


def test_batches(language, db, ledger):
    """Results of each, whole batches and what is left over; then what can go wrong."""
    ids = invoke(db, "sum", *[{"n": n} for n in range(7)])
    wait_empty(db)
    # They are of several shards, which need not be read at the same moment: who goes with whom is nobody's promise.
    batches = starts(ledger)
    assert sorted(batches) == ids and all(batches[i] == batch for batch in batches.values() for i in batch), batches
    assert sorted(len(batch) for batch in batches.values()) == [1] + [3] * 6, batches
    assert outcomes(db, ids) == [("completed", {"n": n, "of": len(batches[i])}, None) for n, i in enumerate(ids)]

    # An error of one is its own; it is tried again without the others.
    ids = invoke(db, "sum", {"n": 1}, {"n": 2, "fail": "no", "for_good": True}, {"n": 3, "fail": "not yet"})
    wait_empty(db)
    assert outcomes(db, ids) == [("completed", {"n": 1, "of": 3}, None), ("failed", None, "no"), ("failed", None, "not yet")]
    assert ledger.counts("start")[ids[1]] == 1 and ledger.counts("start")[ids[2]] == 3
    assert starts(ledger)[ids[2]] == [ids[2]]

    # As many results as executions are needed.
    ids = invoke(db, "short", 1, 2, 3)
    wait_empty(db)
    found = outcomes(db, ids)
    if language == "c":
        assert found == [("completed", True, None)] * 2 + [("failed", None, "the task's function returned 7")]
    else:
        assert [state for state, _, _ in found] == ["failed"] * 3
        assert {message for _, _, message in found} == {"the task short returned 2 results for a batch of 3"}, found

    # There are no steps.
    ids = invoke(db, "lasting", 1, 2)
    wait_empty(db)
    for state, _, message in outcomes(db, ids):
        assert state == "failed" and "batch has no steps" in message, message

    # Each is cancelled by itself, and hears of it.
    ids = invoke(db, "wait", 1, 2)
    wait_for(lambda: set(ids) <= set(starts(ledger)), 10, "they run")
    for one in ids:
        assert value(db, "select pgconductor.cancel(%s, 'enough')", one)
    wait_for(lambda: value(db, "select count(*) from pgconductor.running") == 0, 10, "nothing runs")
    assert [state for state, _, _ in outcomes(db, ids)] == ["cancelled"] * 2
    ids = invoke(db, "sum", {"n": 1})
    wait_empty(db)
    assert outcomes(db, ids) == [("completed", {"n": 1, "of": 1}, None)]
