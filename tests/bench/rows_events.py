"""Events: what emitting one costs, and how fast they start and resume executions."""

import time

from harness import JOBS, PAYLOAD, ROUNDS, median, quantity, wait_true
from rows_client import BARE_COLUMNS, batches, pgbench, take_turns
from rows_drain import ceiling
from rows_durable import Scene

ARRAY = "{" + ",".join(['"' + PAYLOAD.replace('"', '\\"') + '"'] * 1000) + "}"


def emit(b, rows):
    """Row emit: 8 clients, against the same clients inserting into the same table."""
    scripts = {
        "ours": f"select pgconductor.emit('order.paid', '{PAYLOAD}'::text);\n",
        "bare": f"insert into pgconductor.events (created_at, key, payload) values (now(), 'order.paid', '{PAYLOAD}') returning id;\n",
    }
    take_turns(b, "emit", "emit from 8 clients, against bare inserts", 0.75,
               lambda conn, kind: pgbench(b, conn.info.dbname, scripts[kind]))


def emit_many(b, rows):
    """Row emitmany: 1,000 in one statement, against inserts of 1,000 rows into the same table."""
    queries = {
        "ours": ("select pgconductor.emit('order.paid', p) from unnest(%s::text[]) p", ARRAY),
        "bare": ("insert into pgconductor.events (created_at, key, payload) select now(), 'order.paid', p"
                 " from unnest(%s::json[]) p returning id", ARRAY),
    }
    take_turns(b, "emitmany", "emit of 1,000 at once, against bare inserts", 0.2,
               lambda conn, kind: batches(conn, *queries[kind]))


def fan_out_rate(b, subscriptions):
    """Executions/s made of events that are committed at one moment, for tasks that nobody serves here."""
    events = JOBS // subscriptions
    scene = Scene(b)
    for i in range(subscriptions):
        scene.conn.execute("select pgconductor.declare_task(%s, 'elsewhere')", (f"sink{i}",))
        scene.conn.execute("select pgconductor.declare_triggers('bench', %s, '[{\"event\": \"order.paid\"}]')", (f"sink{i}",))
    with scene.conn.transaction():
        scene.conn.execute("select count(pgconductor.emit('order.paid', %s::text)) from generate_series(1, %s)", (PAYLOAD, events))
        start = time.time()
    end = wait_true(scene.conn, "select not pgconductor.events_due()")
    scene.server.stop()
    made = scene.conn.execute("select count(*) from pgconductor.executions where queue = 'elsewhere'").fetchone()[0]
    assert made == events * subscriptions, made
    scene.conn.close()
    return made / (end - start)


def bare_rate(b):
    """Rows/s of one client that inserts as many executions, 1,000 at a time."""
    name = b.database()
    conn = b.connect(name)
    b.declare(conn)
    conn.execute("checkpoint")
    query = (f"insert into pgconductor.executions ({BARE_COLUMNS}) select now(), now(), 1 + n %% 4, 0, 0, false, 'default',"
             " 'noop', p from unnest(%s::json[]) with ordinality as t(p, n)")
    cursor = conn.cursor()
    start = time.monotonic()
    for _ in range(JOBS // 1000):
        cursor.execute(query, (ARRAY,), prepare=True)
    rate = JOBS // 1000 * 1000 / (time.monotonic() - start)
    conn.close()
    return rate


def fan_out(b, rows):
    """Row fanout: executions made of events, to one subscription and to 100, against bare inserts of executions."""
    widths = (1, 100)
    rates, bare = {n: [] for n in widths}, []
    for _ in range(ROUNDS):
        bare.append(bare_rate(b))
        for n in widths:
            rates[n].append(fan_out_rate(b, n))
    for n in widths:
        pairs = [x / y for x, y in zip(rates[n], bare)]
        b.report("fanout", f"executions made for {n} subscription{'s' if n > 1 else ''}, against bare inserts", median(pairs), 0.3,
                 detail=f"{quantity(median(rates[n]))}/s, bare {quantity(median(bare))}/s")


def wake_ups_rate(b):
    """All wait for one event: from its commit to the last that has finished."""
    waits = JOBS // 8
    scene = Scene(b)
    scene.invoke("listen", waits, {"pad": "x"})
    wait_true(scene.conn, f"select count(*) = {waits} from pgconductor.event_waits", timeout=120)
    wait_true(scene.conn, "select not pgconductor.events_due()")
    scene.conn.execute("checkpoint")
    scene.conn.execute("select pgconductor.emit('bell', '1')")
    start = time.time()
    return waits / (scene.end(waits, waits) - start)


def wake_ups(b, rows):
    """Row wakeups: executions that one event resumes, and that finish, against the ceiling."""
    rates, tops = [], []
    for _ in range(ROUNDS):
        tops.append(ceiling(b, True))
        rates.append(wake_ups_rate(b))
    b.report("wakeups", "resumed by an event and finished", median([x / y for x, y in zip(rates, tops)]), 0.06,
             detail=f"{quantity(median(rates))}/s, ceiling {quantity(median(tops))}/s")
