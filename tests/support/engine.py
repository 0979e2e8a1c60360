"""What the engine's tests ask the database, and wait for."""

from .wait import wait_for

SLEEP_CLASS, SHARD_CLASS, NODE_CLASS = 1346847491, 1346847490, 1346847489


def value(db, query, *args):
    """The only column of the only row; None without a row."""
    row = db.execute(query, args or None).fetchone()
    return row[0] if row else None


def invoke(db, task="seen", payload="1", priority=0, **options):
    names = "".join(f", {name} => %s" for name in options)
    return value(db, f"select pgconductor.invoke(%s, %s, priority => %s{names})", task, payload, priority, *options.values())


def batch(db, task, n, item="{}"):
    return value(db, "select pgconductor.invoke_batch(%s, %s::json)", task, "[" + ",".join([item] * n) + "]")


def result(db, execution):
    """(state, result, error) as result() tells."""
    return db.execute("select state, result, error from pgconductor.result(%s)", (execution,)).fetchone()


def unfinished(db):
    return value(db, "select count(*) from pgconductor.executions")


def finished(db):
    return value(db, "select count(*) from pgconductor.finished_executions")


def wait_empty(db, timeout=15):
    wait_for(lambda: unfinished(db) == 0, timeout, "everything has run")


def wait_finished(db, execution, state="completed", timeout=10):
    def look():
        found = result(db, execution)
        assert found and found[0] == state, found
        return found
    return wait_for(look, timeout, f"execution {execution} is {state}")


def backend(db, role, node_pid=None):
    """The pid of a master's backend, when there is one."""
    return value(db, "select pid from pg_stat_activity where datname = current_database() and application_name = %s",
                 f"pgconductor {role}")


def has_polled(db):
    """Wait until each node has read what is committed now.

    The first poll after it may only learn of the lanes; the second reads them, and has been taken in when a third begins.
    Between two polls of lanes there may be one of wakes and a look for events. A node that sleeps is woken for that.
    """
    at = value(db, "select clock_timestamp()")
    begun = {}

    def polled_often():
        readers = db.execute("select pid, query_start, query_start > %s from pg_stat_activity where datname = current_database()"
                             " and application_name = 'pgconductor reader'", (at,)).fetchall()
        for pid, start, later in readers:
            begun.setdefault(pid, set()).update([start] if later else [])
        if sleep_locks(db, True):
            db.execute("select pgconductor.awake(owner) from pgconductor.shards group by owner")
        return readers and all(len(begun[pid]) >= 8 for pid, _, _ in readers)

    wait_for(polled_often, 20, "the node has read")


def waits_for_lock(db, role):
    """Wait until a backend of the master waits for a lock that the test holds."""
    wait_for(lambda: value(db, "select count(*) from pg_stat_activity where datname = current_database() and"
                               " application_name = %s and wait_event_type = 'Lock'", f"pgconductor {role}"),
             10, f"the {role} waits for a lock")


def sleep_locks(db, granted):
    """How many nodes hold, or wait for, their sleep lock."""
    return value(db, "select count(*) from pg_locks where locktype = 'advisory' and classid = %s and mode = 'ExclusiveLock'"
                     " and granted = %s and database = (select oid from pg_database where datname = current_database())",
                 SLEEP_CLASS, granted)


def asleep(db, nodes=1):
    """Wait until so many nodes sleep, and that for good: one may do so before it takes its shards, which wakes it."""
    def settled():
        return sleep_locks(db, True) == nodes and value(
            db, "select not exists (select from pgconductor.shards s, pgconductor.nodes n join pgconductor.live_nodes() l"
                " on l.node = n.id where s.queue = any (n.queues) and s.owner is null)"
                " and not exists (select from pgconductor.shards s, pg_stat_activity a where a.datname = current_database()"
                " and a.application_name = 'pgconductor sleeper' and a.query_start < s.taken_at"
                # In a test that moves the clock it may be taken in the future.
                " and s.taken_at < clock_timestamp())")
    wait_for(settled, 10, "the node sleeps")


def nodding(db):
    wait_for(lambda: sleep_locks(db, False) == 1, 10, "the node waits for its sleep lock")


def node_of(db, server):
    return value(db, "select id from pgconductor.nodes where pid = %s order by id desc limit 1", server.pid)


def owned(db, node):
    """The shards that a node owns: by the table, and by the locks of its writer."""
    by_table = value(db, "select coalesce(array_agg(id order by id), '{}') from pgconductor.shards where owner = %s", node)
    by_lock = value(db, "select coalesce(array_agg(s.objid::bigint order by s.objid), '{}') from pg_locks s join pg_locks n"
                        " using (pid, database) where s.locktype = 'advisory' and n.locktype = 'advisory' and s.granted and"
                        " n.granted and s.classid = %s and n.classid = %s and n.objid = %s and"
                        " database = (select oid from pg_database where datname = current_database())",
                    SHARD_CLASS, NODE_CLASS, node)
    return by_table if by_table == by_lock else None


def blocker(db, app, priority=100):
    """Something that holds the only place there is."""
    block = invoke(db, "hold", priority=priority)
    wait_for(lambda: app.runs(block), 10, "the blocker runs")
    return block
