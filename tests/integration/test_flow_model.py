"""Sequences of random operations do in the database what they do in the model, support/flow_model.py; and of mistakes that are
planted in the SQL each is found so.

PGC_LONG=1 plays more than ten thousand, and plants all of the mistakes. A failure says which seed, and is cut down to few
operations.
"""

import os
import random

import psycopg
import pytest

from support.flow_model import sequence
from support.flow_play import Database, play, shortest
from support.paths import SRC

# What is planted: in which function, what stands there, and what instead, once or twice. Each breaks one sentence of docs/flow.md.
MUTANTS = {
    "dedupe ignores the queue": (
        "claim_keys", "where x.kind = c.kind and x.task = claim_keys.task and x.queue = c.queue and x.key = c.key",
        "where x.kind = c.kind and x.task = claim_keys.task and x.key = c.key"),
    "dedupe ends with the execution": (
        "claim_keys", "where f.id between x.execution and x.execution) end", "where false) end"),
    "dedupe_for counts from the first invoke with the key": (
        "claim_keys", "case when c.change = 0 then present + least(c.span, c.max_wait)",
        "case when c.change = 0 then k.first_at + least(c.span, c.max_wait)"),
    "throttle counts what it dropped": (
        "claim_keys", "    if not true = any (undecided) then\n",
        "    update pgconductor.invoke_keys k set until = present + c.span from unnest(claim_keys.claims) as"
        " c(id, kind, queue, key, span, max_wait, priority, payload, metadata) where k.kind = 'throttle' and c.kind = k.kind"
        " and k.task = claim_keys.task and k.queue = c.queue and k.key = c.key;\n    if not true = any (undecided) then\n"),
    "debounce ignores max_wait": (
        "claim_keys", "least(present + c.span, k.first_at + c.max_wait) as due", "present + c.span as due"),
    "debounce counts max_wait from the last": (
        "claim_keys", "first_at = case when c.change = 0 then present else k.first_at end", "first_at = present"),
    "debounce keeps the first payload": (
        "claim_keys", "set payload = p.payload, metadata = p.metadata", "set metadata = p.metadata"),
    "debounce changes what was given another time": (
        "claim_keys", "and e.waiting is null and e.run_at = k.until", "and e.waiting is null"),
    "a batch tells throttled items the first one's id": (
        "claim_items", "when i.leads or not i.alone then", "when true then"),
    "a batch takes the first payload of a burst": (
        "claim_items", "when 'debounce' then -g.pos else g.pos", "when 'debounce' then g.pos else g.pos"),
    "a batch ignores the priority of what it delays": (
        "invoke_items", "-coalesce(g.priority, t.priority),",
        "case when g.due <= present then -coalesce(g.priority, t.priority) else 0 end,"),
    "a burst forgets the priority of its task": (
        "claim_items", "coalesce(r.priority, t.priority) as priority", "r.priority as priority"),
    "promote ignores the priority": (
        "promote", "set ready_xid = pg_current_xact_id(), waiting = null, pending = null",
        "set ready_xid = pg_current_xact_id(), waiting = null, pending = null, lane = 0"),
    "edit loses run_at": (
        "edit", "change.run_at := case when edit.run_at is not null", "change.run_at := case when false"),
    "edit changes what runs": (
        "take_changes", "e.ready_xid = c.run and not c.busy then", "e.ready_xid = c.run then"),
    "edit of a priority leaves it in its lane": (
        "apply_change", "priority = level, lane = -level,", "priority = level,"),
    "what is due is changed without its owner": (
        "put_change", "elsif e.ready_xid is null or e.waiting = 'delayed' and e.run_at > present then",
        "elsif e.ready_xid is null or e.waiting = 'delayed' then",
        "not (e.ready_xid is null or e.waiting = 'delayed' and e.run_at > present)", "false"),
    "what is due is read in the order of ids": (
        "poll_due", "and (x.run_at, x.id) > (r.run_at, r.id) and x.run_at <= pgconductor.now()", "and x.run_at < 'infinity'"),
    "move forgets the delay": (
        "apply_change", "else coalesce(change.run_at, e.run_at) end;", "else coalesce(change.run_at, present) end;"),
    "a change is lost when it was moved first": (
        "take_changes", "from pgconductor.shards h where h.id = e.shard and", "from pgconductor.shards h where false and"),
    "retry forgets the priority": (
        "retry", "home, -f.priority, f.priority,", "home, 0, 0,"),
    "retry goes on counting attempts": (
        "settle_full", "and e.attempt + 1 < coalesce(t.max_attempts, 3)", "and e.attempt < coalesce(t.max_attempts, 3)"),
    "discard takes what was cancelled": (
        "discard", "f.state = 'failed'", "f.state <> 'completed'"),
    "unpark resumes what is paused": (
        "unpark", "when 'paused' then not x.task = any (paused) end", "when 'paused' then true end"),
    "debounce keeps the key of the first payload": (
        "claim_keys", "key = case when e.key is not null then pgconductor.key_of(p.payload,",
        "key = case when e.key is not null then pgconductor.key_of(e.payload,"),
    "edit keeps the key of the former payload": (
        "apply_change", "pgconductor.key_of(coalesce(change.payload, x.payload),", "pgconductor.key_of(x.payload,"),
    "upkeep forgets the key of what may be retried": (
        "forget_keys", "and k.first_at + (", "and k.first_at - interval '1 year' + (",
        "select from pgconductor.finished_executions f where", "select from pgconductor.finished_executions f where false and"),
    "a key is forgotten while it counts": (
        "forget_keys", "where case a.kind when 'throttle' then true", "where case a.kind when 'dedupe' then true"),
}
# Those that are planted every time.
USUAL = ("dedupe ignores the queue", "throttle counts what it dropped", "debounce ignores max_wait", "edit loses run_at",
         "promote ignores the priority", "edit changes what runs", "move forgets the delay")
LONG = os.environ.get("PGC_LONG", "") not in ("", "0")


@pytest.fixture(scope="module")
def database(cluster):
    """One for all of it: each sequence begins with nothing."""
    opened = []

    def connect(**more):
        opened.append(psycopg.connect(cluster.dsn("flow_model"), autocommit=True, **more))
        return opened[-1]
    cluster.create_database("flow_model", "template_pgconductor")
    yield Database(connect)
    for conn in opened:
        conn.close()
    cluster.drop_database("flow_model")


def sequences(seed, count):
    """(number, operations, does the clock stand still)"""
    for n in range(count):
        dice = random.Random(f"{seed} {n}")
        still = dice.random() < 0.9
        yield n, sequence(dice, dice.randrange(5, 40)), still


def text(ops):
    return "\n".join(f"  {name}{args}" for name, args in ops)


def test_as_the_model(database, seed, scale):
    """Of one seed the n-th sequence is always the same, however many there are."""
    for n, ops, still in sequences(seed, scale(150, 12000)):
        wrong = play(database, ops, still)
        if wrong:
            fewer, said = shortest(database, ops, still)
            pytest.fail(f"PGC_SEED={seed}, sequence {n}: {wrong}\nAlso wrong, {said}:\n{text(fewer)}")


def mutated(name):
    """The function as it is, and with the mistake."""
    function, *texts = MUTANTS[name]
    with open(f"{SRC}/sql/functions/{function}.sql", encoding="utf-8") as file:
        source = file.read()
    mutant = source
    for former, planted in zip(texts[::2], texts[1::2]):
        assert mutant.count(former) == 1, f"{function}.sql: {former}"
        mutant = mutant.replace(former, planted)
    return source, mutant


def test_mutants_have_a_place():
    """Also those that are planted in the long form only."""
    for name in MUTANTS:
        mutated(name)


@pytest.mark.parametrize("name", MUTANTS if LONG else USUAL)
def test_mutant_is_found(database, seed, name):
    source, mutant = mutated(name)
    # After it the original, come what may.
    database.db.execute(mutant)
    try:
        found = next((n for n, ops, still in sequences(seed, 2000) if play(database, ops, still)), None)
    finally:
        database.db.execute(source)
    assert found is not None, f"PGC_SEED={seed}: nothing was wrong"
    print(f"found by sequence {found}")


def test_every_operation_is_played(seed):
    """What the model knows to do, and no more than that, is in sequences."""
    played = {name for _, ops, _ in sequences(seed, 50) for name, _ in ops}
    assert played == {"invoke", "batch", "edit", "move", "cancel", "retry", "discard", "pause", "resume", "clock", "changes",
                      "promote", "unpark", "hand", "note", "settle", "upkeep", "look"}
