"""Ownership: nodes, locks, sharing, taking over, and dumps restored elsewhere."""

import os
import subprocess
import time

import psycopg
import pytest

from support.cluster import bindir
from support.sqlnode import Node, declare, invoke, one, row_of, session


def owners(db):
    return dict(db.execute("select id, owner from pgconductor.shards order by id").fetchall())


def gone(db, pid):
    deadline = time.monotonic() + 10
    while one(db, "select count(*) from pg_stat_activity where pid = %s", pid) == (1,):
        assert time.monotonic() < deadline, "the backend goes on"


def test_a_node_is_alive_while_its_writer_is(db, connect):
    node = Node(connect)
    assert node.id == 1 and node.max_payload == 16777216 and node.poll_interval_ms == 5000
    assert db.execute("select node, pid from pgconductor.live_nodes()").fetchall() == [(node.id, node.backend_pid)]
    assert Node(connect).id == 2
    node.writer.close()
    gone(db, node.backend_pid)
    assert one(db, "select node from pgconductor.live_nodes()") == (2,)


def test_reconnecting_keeps_the_id(db, connect):
    node = Node(connect)
    writer = session(connect, "writer")
    # The former session is still there: it is ended, and the next try succeeds.
    attach = "select node_id from pgconductor.attach_node(%s, 'test', 1, '0')"
    with pytest.raises(psycopg.Error) as caught:
        writer.execute(attach, (node.id,))
    assert caught.value.sqlstate == "55006"
    gone(db, node.backend_pid)
    assert writer.execute(attach, (node.id,)).fetchone() == (node.id,)
    assert writer.execute(attach, (node.id,)).fetchone() == (node.id,)
    assert one(db, "select count(*) from pgconductor.nodes") == (1,)
    # A node that was forgotten meanwhile comes back under its id.
    db.execute("delete from pgconductor.nodes")
    assert writer.execute(attach, (node.id,)).fetchone() == (node.id,)
    assert one(db, "select id from pgconductor.nodes") == (node.id,)


def test_the_reader_knows_its_writer(db, connect):
    node = Node(connect)
    check = "select pgconductor.check_writer(%s, %s)"
    assert node.reader.execute(check, (node.backend_pid, node.backend_start)).fetchone() == (True,)
    assert node.reader.execute(check, (node.backend_pid, str(int(node.backend_start) - 1))).fetchone() == (False,)
    node.writer.close()
    gone(db, node.backend_pid)
    assert node.reader.execute(check, (node.backend_pid, node.backend_start)).fetchone() == (False,)


def test_one_node_takes_everything(db, connect):
    declare(db)
    declare(db, "b", queue="media")
    node = Node(connect).serve("default/work")
    assert node.balance() == [(s, "default", "take") for s in (1, 2, 3, 4)]
    assert node.settle_in() == [1, 2, 3, 4]
    assert node.balance() == []
    node.serve("default/work", "media/b")
    assert [r[1:] for r in node.balance()] == [("media", "take")] * 4
    assert len(node.settle_in()) == 4
    node.serve("media/b")
    assert node.balance() == [(s, "default", "give") for s in (1, 2, 3, 4)]


def test_shared_evenly(db, connect):
    """Nodes come and go; the shards are shared out, and never in two hands."""
    db.execute("select pgconductor.ensure_queue('default', 7)")
    nodes = []

    def rest():
        for _ in range(4):
            for n in nodes:
                n.give()
            for n in nodes:
                n.settle_in()
        held = [len(n.epochs) for n in nodes]
        assert sum(held) == 7 and max(held) - min(held) <= 1, held
        assert owners(db) == {s: n.id for n in nodes for s in n.epochs}
        assert all(n.balance() == [] for n in nodes)
    for _ in range(3):
        nodes.append(Node(connect).serve("default/work"))
        rest()
    for _ in range(6):
        nodes.append(Node(connect).serve("default/work"))
    rest()
    while len(nodes) > 1:
        nodes.pop(0).die()
        while one(db, "select count(*) from pgconductor.live_nodes()")[0] > len(nodes):
            pass
        rest()


def test_remainders_do_not_all_go_to_one(db, connect):
    for n in range(20):
        db.execute("select pgconductor.ensure_queue(%s, 1)", (f"q{n}",))
    nodes = [Node(connect) for _ in range(2)]
    for n in nodes:
        n.serve(*(f"q{i}/work" for i in range(20)))
    for n in nodes:
        n.settle_in()
    assert sum(len(n.epochs) for n in nodes) == 20
    assert min(len(n.epochs) for n in nodes) >= 3


def test_fewer_shards(db, connect):
    """When their number is lowered, the others are still read by somebody, and the used ones shared for themselves."""
    db.execute("select pgconductor.ensure_queue('default', 6)")
    db.execute("select pgconductor.ensure_queue('default', 2)")
    nodes = [Node(connect).serve("default/work") for _ in range(2)]
    for n in nodes:
        n.settle_in()
    assert sorted(s for n in nodes for s in n.epochs) == [1, 2, 3, 4, 5, 6]
    assert [len([s for s in n.epochs if s <= 2]) for n in nodes] == [1, 1]


def test_just_reconnected(db, connect):
    """A node that was away for a moment looks for what was its own, and leaves the rest to others."""
    declare(db)
    node = Node(connect).serve("default/work")
    node.settle_in()
    db.execute("update pgconductor.shards set owner = null where id in (1, 2)")
    node.writer.close()
    gone(db, node.backend_pid)
    node.writer = session(connect, "writer")
    node.call("select from pgconductor.attach_node(%s, 'test', 1, '0')", node.id)
    assert node.balance(settled=False) == [(s, "default", "take") for s in (3, 4)]
    assert node.balance() == [(s, "default", "take") for s in (1, 2, 3, 4)]


def test_locks(db, connect):
    declare(db)
    a, b = Node(connect), Node(connect)
    assert a.lock([1, 2]) == [1, 2] == a.lock([1, 2])
    assert b.lock([1, 2, 3]) == [3]
    a.call("select pgconductor.unlock_shards('{1}')")
    assert b.lock([1, 2]) == [1]
    with pytest.raises(psycopg.Error) as caught:
        a.take([1])
    assert caught.value.sqlstate == "55006"


def test_epochs(db, connect):
    declare(db)
    a, b = Node(connect), Node(connect)
    a.lock([1])
    row = a.take([1])[0]
    assert row[:2] == (1, "default") and row[3:5] == ("0", False)
    assert abs(row[2] / 1000 - time.time()) < 60
    # Retaking an unchanged epoch keeps it; a forgotten one is a new one, and what was running is not known any more.
    assert a.take([1], [row[2]])[0][2:5] == (row[2], "0", False)
    assert a.take([1], [0])[0][2] > row[2]
    assert a.taken[1][0] is True
    a.call("select pgconductor.store_floors(%s, '{1}', '{100}')", a.id)
    a.call("select pgconductor.release(%s, '{1}', '{123}')", a.id)
    a.call("select pgconductor.unlock_shards('{1}')")
    assert owners(db)[1] is None
    b.lock([1])
    last = a.epochs[1]
    row = b.take([1], [last])[0]
    assert row[2] > last and row[3:5] == ("123", False)
    # A clock set back does not set the epoch back.
    db.execute("update pgconductor.shards set epoch = 99999999999999")
    assert b.take([1])[0][2] == 100000000000000


def test_floors_are_of_the_owner(db, connect):
    declare(db)
    a, b = Node(connect), Node(connect)
    a.lock([1])
    a.take([1])
    b.call("select pgconductor.store_floors(%s, '{1}', '{55}')", b.id)
    b.call("select pgconductor.release(%s, '{1}', '{55}')", b.id)
    assert one(db, "select owner, floor from pgconductor.shards where id = 1") == (a.id, "0")
    a.call("select pgconductor.store_floors(%s, '{1,2}', '{55,56}')", a.id)
    assert db.execute("select floor from pgconductor.shards order by id").fetchall() == [("55",), ("0",), ("0",), ("0",)]
    assert one(db, "select seen_at > started_at from pgconductor.nodes where id = %s", a.id) == (True,)


def test_unclean_takeover_counts_what_was_running(db, connect):
    declare(db, max_attempts=2, backoff="0")
    first = Node(connect).serve("default/work")
    first.settle_in()
    made = [invoke(db) for _ in range(6)]
    runs = first.ready()
    last = [r for r in runs if r[0] == made[1]]
    db.execute("update pgconductor.executions set attempt = 1 where id = %s", (made[1],))
    first.note([r for r in runs if r[0] in made[:4]])
    first.settle([r for r in runs if r[0] == made[3]])
    client = connect(autocommit=False)
    client.execute("select pgconductor.cancel(%s)", (made[2],))
    first.die()
    gone(db, first.backend_pid)
    second = Node(connect).serve("default/work")
    assert second.settle_in() == [1, 2, 3, 4]
    assert [second.taken[s][0] for s in (1, 2, 3, 4)] == [True] * 4
    # Counted: the first; at its end: the second; locked by a client, so as it was: the third; never run: the rest.
    assert last and one(db, "select state, attempt, error from pgconductor.executions_all where id = %s", made[1]) == (
        "failed", 2, {"code": "crash", "message": f"node {first.id} ended while it ran this"})
    client.rollback()
    assert [row_of(db, i)["attempt"] for i in (made[0], made[2], made[4], made[5])] == [1, 0, 0, 0]
    assert row_of(db, made[3]) is None
    assert sorted((r[0], r[2]) for r in second.ready()) == [(made[0], 1), (made[2], 0), (made[4], 0), (made[5], 0)]
    assert all(int(r[1]) < int(second.taken[row_of(db, r[0])["shard"]][1]) or r[2] == 1 for r in second.ready())
    assert one(db, "select array_agg(id) from pgconductor.running") == ([made[2]],)


def test_clean_handover_counts_nothing(db, connect):
    declare(db)
    first = Node(connect).serve("default/work")
    first.settle_in()
    made = invoke(db)
    first.serve(queues=["default"])
    first.serve("default/work", queues=[])
    assert first.give() == [1, 2, 3, 4]
    second = Node(connect).serve("default/work")
    second.settle_in()
    assert {u for u, _ in second.taken.values()} == {False}
    assert [(r[0], r[2]) for r in second.ready()] == [(made, 0)]


@pytest.mark.parametrize("how", ["pipeline", "write"])
def test_a_stopped_master_loses_its_shards(db, connect, how):
    """A backend that waits for its client in mid-pipeline, or to send to it, is covered by no timeout of its session."""
    declare(db)
    first = Node(connect, timeout_ms=600).serve("default/work")
    first.settle_in()
    pg = first.writer.pgconn
    pg.nonblocking = 1
    if how == "pipeline":
        pg.enter_pipeline_mode()
        pg.send_query_params(b"select 1", None)
        pg.send_flush_request()
    else:
        pg.send_query(b"select repeat('x', 100000) from generate_series(1, 1000)")
    pg.flush()
    second = Node(connect, timeout_ms=600).serve("default/work")
    began = time.monotonic()
    while first.id in dict(db.execute("select node, pid from pgconductor.live_nodes()").fetchall()):
        second.balance()
        assert time.monotonic() - began < 10
    assert time.monotonic() - began > 0.3
    assert second.settle_in() == [1, 2, 3, 4]
    assert owners(db) == dict.fromkeys((1, 2, 3, 4), second.id)
    first.die()


def test_a_stopped_master_at_rest_loses_its_shards(db, connect):
    first = Node(connect, timeout_ms=400)
    gone(db, first.backend_pid)


def test_a_slow_answer_is_no_standstill(db, connect):
    """A node whose writer is at work, or has just been, is left alone."""
    declare(db)
    first = Node(connect, timeout_ms=2000).serve("default/work")
    second = Node(connect, timeout_ms=2000).serve("default/work")
    pg = first.writer.pgconn
    pg.send_query(b"select pg_sleep(1)")
    until = time.monotonic() + 0.8
    while time.monotonic() < until:
        second.balance()
    while pg.get_result():
        pass
    assert first.call("select 1") == [(1,)]


def test_who_owns_is_known_to_invoke(db, connect):
    """The copy of the owners in tasks follows, whatever order things happen in, and nobody waits for a client."""
    def copied(task="work"):
        return one(db, "select owners from pgconductor.tasks where name = %s", task)[0]
    declare(db)
    assert copied() == [None] * 4
    node = Node(connect).serve("default/work")
    node.settle_in()
    assert copied() == [node.id] * 4
    declare(db, "later")
    assert copied("later") == [node.id] * 4
    client = connect(autocommit=False)
    declare(client, "later", max_attempts=7)
    client.execute("select from pgconductor.tasks for update")
    node.serve(queues=[])
    assert len(node.give()) == 4
    assert copied() == copied("later") == [node.id] * 4
    client.commit()
    node.call("select pgconductor.store_floors(%s, '{}', '{}')", node.id)
    assert copied() == copied("later") == [None] * 4


def test_two_nodes_take_shards_of_one_queue_at_once(db, connect):
    declare(db)
    a, b = Node(connect), Node(connect)
    a.lock([1, 2])
    b.lock([3, 4])
    b.writer.execute("set lock_timeout = '5s'")
    a.writer.execute("begin")
    a.take([1, 2])
    import threading
    thread = threading.Thread(target=b.take, args=([3, 4],))
    thread.start()
    while one(db, "select count(*) from pg_locks where not granted") == (0,):
        pass
    a.writer.execute("commit")
    thread.join(10)
    assert one(db, "select owners from pgconductor.tasks") == ([a.id, a.id, b.id, b.id],)


def burn(db, n):
    """Use up transaction numbers."""
    db.execute(f"do $$ begin for i in 1..{n} loop perform pg_current_xact_id(); commit; end loop; end $$")


def restore(source, target):
    if not os.path.exists(f"{bindir()}/pg_dump"):
        pytest.skip("no pg_dump of this version")
    dump = subprocess.run([f"{bindir()}/pg_dump", "-d", source], stdout=subprocess.PIPE, check=True)
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", target], input=dump.stdout, check=True,
                   stdout=subprocess.DEVNULL)


def test_a_dump_goes_on_in_another_cluster(db, dsn, connect, own_cluster):
    """Its transaction numbers are lower: what seems to be of the future is made ready anew, floors begin at the start."""
    declare(db)
    burn(db, 3000)
    first = Node(connect).serve("default/work")
    first.settle_in()
    old = [invoke(db, priority=p) for p in (0, 0, 3)]
    delayed = invoke(db, delay="1 hour")
    first.note([r for r in first.ready() if r[0] == old[1]])
    xid = one(db, "select pg_snapshot_xmin(pg_current_snapshot())::text")[0]
    first.call("select pgconductor.store_floors(%s, '{1,2,3,4}', %s::xid8[])", first.id, [xid] * 4)
    other = own_cluster(migrate=False)
    # Roles are not in the dump of a database.
    other.connect().execute("create role pgconductor_client; create role pgconductor_filter; create role pgconductor_change")
    restore(dsn, other.dsn("test"))

    def there(**options):
        return connect(dsn=other.dsn("test"), **options)
    new = there()
    assert int(one(new, "select pg_snapshot_xmax(pg_current_snapshot())::text")[0]) < int(xid)
    fresh = invoke(new)
    node = Node(there).serve("default/work")
    assert node.id > first.id
    assert node.settle_in() == [1, 2, 3, 4]
    assert set(node.floors.values()) == {"0"}
    now = int(one(new, "select pg_current_xact_id()::text")[0])
    rows = node.ready()
    assert sorted(r[0] for r in rows) == [old[0], old[2], fresh]
    assert all(int(r[1]) <= now for r in rows)
    # What was running there was interrupted: that counts, and it waits for its next attempt.
    assert row_of(new, old[1])["attempt"] == 1
    assert int(row_of(new, delayed)["ready_xid"]) <= now and row_of(new, delayed)["waiting"] == "delayed"
    assert sorted(node.run_all()) == [old[0], old[2], fresh]
    assert sorted(invoke(new) for _ in range(2))[0] > delayed


def test_a_dump_of_a_younger_cluster(db, dsn, connect, own_cluster):
    """Its numbers are lower than the new cluster's: everything is read again, whatever the floor was."""
    other = own_cluster()
    young = other.connect("test")
    declare(young)
    made = invoke(young)
    young.execute("update pgconductor.shards set floor = '900000000', system_id = 1")
    young.close()
    db.execute("drop schema pgconductor cascade")
    burn(db, 1000)
    restore(other.dsn("test"), dsn)
    node = Node(connect).serve("default/work")
    node.settle_in()
    assert set(node.floors.values()) == {"0"}
    assert [r[0] for r in node.ready()] == [made]


def test_a_floor_of_the_future(db, connect):
    """The same system, restored to an earlier time: the floor is not believed."""
    declare(db)
    made = invoke(db)
    db.execute("update pgconductor.shards set floor = '900000000', system_id = pgconductor.system_id()")
    db.execute("update pgconductor.executions set ready_xid = '900000000'")
    node = Node(connect).serve("default/work")
    node.settle_in()
    assert set(node.floors.values()) == {"0"}
    assert [r[0] for r in node.ready()] == [made]
    assert int(node.ready()[0][1]) < 900000000
