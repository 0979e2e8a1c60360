"""Draining: against the SQL-only ceiling, against graphile-worker, and with a large backlog behind."""

import os
import shutil
import struct
import subprocess
import time

from harness import (JOBS, PAYLOAD, ROUNDS, Counter, median, paths, processes, quantity, wait_all_run, wait_empty,
                     wait_for, wait_true)
from support.server import clean_environment

GRAPHILE_PACKAGES = ("graphile-worker@0.18.0", "node@22")


def ready_database(b, history, jobs, limits=None):
    name = b.database()
    conn = b.connect(name)
    b.declare(conn, history=history)
    if limits:
        conn.execute("select pgconductor.declare_task('noop', options => %s, source => 'set')", (limits,))
    b.fill(conn, jobs)
    conn.execute("checkpoint")
    return name, conn


def ceiling(b, history):
    name, conn = ready_database(b, history, JOBS)
    rate = b.ceiling(name, JOBS, history)
    check_finished(conn, history, JOBS)
    conn.close()
    return rate


def check_finished(conn, history, jobs):
    left, finished = conn.execute("""select (select count(*) from pgconductor.executions),
        (select count(*) from pgconductor.finished_executions where state = 'completed')""").fetchone()
    assert left == 0 and finished == (jobs if history else 0), f"{left} left, {finished} finished"


def c_handler(b, counter):
    return b.noop_config(counter)


def python_handler(b, counter):
    return b.handler_config(["/usr/bin/python3", f"{paths.SRC}/tests/bench/noop.py", counter.path],
                            [f"PYTHONPATH={paths.SRC}/proto/python"])


def node_handler(b, counter):
    return b.handler_config([shutil.which("node"), f"{paths.SRC}/tests/bench/noop.mjs",
                             f"{paths.SRC}/proto/node/src/index.js", counter.path])


def drain(b, history, handler=c_handler, limits=None):
    """Jobs/s from the first job's start to the last one settled, and to the last one run. limits: options of the task."""
    name, conn = ready_database(b, history, JOBS, limits)
    counter = Counter(b.tmp)
    server = b.server(name, handler(b, counter))
    wait_all_run(counter, JOBS, server)
    run = time.time()
    settled = wait_empty(conn)
    first = counter.first
    assert counter.jobs == JOBS, f"{counter.jobs} runs of {JOBS} jobs"
    server.stop()
    check_finished(conn, history, JOBS)
    conn.close()
    return JOBS / (settled - first), JOBS / (run - first)


def graphile_directory():
    """Where graphile-worker and a node that it accepts are installed; downloaded once."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    directory = os.path.join(base, "pgconductor-bench", "graphile-0.18")
    if not os.path.exists(f"{directory}/complete"):
        if shutil.which("npm") is None:
            return None
        os.makedirs(directory, exist_ok=True)
        done = subprocess.run(["npm", "install", "--prefix", directory, "--no-audit", "--no-fund", "--loglevel=error",
                               *GRAPHILE_PACKAGES], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            print(done.stdout[-2000:])
            return None
        open(f"{directory}/complete", "w", encoding="ascii").close()
    return directory


def graphile(b, directory):
    """graphile-worker's jobs/s: 2 processes, 24 jobs each, localQueue 5000, completion delays 0."""
    name = b.database("template0")
    url = f"postgres:///{name}?host={b.cluster.dir}&user=postgres"
    node = f"{directory}/node_modules/.bin/node"
    subprocess.run([node, f"{directory}/node_modules/.bin/graphile-worker", "-c", url, "--schema-only"], check=True,
                   stdout=subprocess.DEVNULL, cwd=directory, env=clean_environment())
    conn = b.connect(name)
    conn.execute("insert into graphile_worker._private_tasks (identifier) values ('noop')")
    conn.execute("""insert into graphile_worker._private_jobs (task_id, payload)
        select t.id, %s::json from graphile_worker._private_tasks t, generate_series(1, %s)""", (PAYLOAD, JOBS))
    conn.execute("checkpoint")
    counters = [os.path.join(b.tmp, f"graphile{i}") for i in range(2)]
    started = []
    for path in counters:
        with open(path, "wb") as file:
            file.write(bytes(16))
        started.append(subprocess.Popen([node, f"{paths.SRC}/tests/bench/graphile.mjs", url, path], cwd=directory,
                                        env=clean_environment(), preexec_fn=processes.die_with_parent()))

    def read():
        cells = []
        for path in counters:
            with open(path, "rb") as file:
                cells.append(struct.unpack("<QQ", file.read(16)))
        return cells
    try:
        wait_for(lambda: sum(jobs for jobs, _ in read()) >= JOBS, 120, "graphile-worker ran every job", poll=0.002)
        conn.execute("set enable_seqscan = off")
        end = wait_true(conn, "select not exists (select from graphile_worker._private_jobs order by id limit 1)")
        cells = read()
        assert sum(jobs for jobs, _ in cells) == JOBS
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)
    conn.close()
    return JOBS / (end - min(first for _, first in cells) / 1e9)


LANGUAGES = {"python": ("Python", python_handler), "node": ("Node", node_handler)}


def engine(b, rows):
    """Rows drain, nohistory, graphile, python and node, interleaved."""
    languages = [language for language in LANGUAGES if language in rows]
    if "node" in languages and shutil.which("node") is None:
        b.note("node: there is none; row left out")
        languages.remove("node")
    directory = graphile_directory() if "graphile" in rows or languages else None
    figures = {}

    def note(key, value):
        figures.setdefault(key, []).append(value)
    for _ in range(ROUNDS):
        if "drain" in rows or languages:
            note("ceiling", ceiling(b, True))
        if "drain" in rows:
            note("drain", drain(b, True)[0])
        if "nohistory" in rows:
            note("ceiling0", ceiling(b, False))
        if "nohistory" in rows or "graphile" in rows and directory:
            note("drain0", drain(b, False)[0])
        for language in languages:
            note(language, drain(b, True, LANGUAGES[language][1])[0])
            note(language + "0", drain(b, False, LANGUAGES[language][1])[0])
        if directory:
            note("graphile", graphile(b, directory))

    def ratio(row, what, ours, theirs, target, name):
        pairs = [x / y for x, y in zip(figures[ours], figures[theirs])]
        b.report(row, what, median(pairs), target,
                 detail=f"{quantity(median(figures[ours]))}/s, {name} {quantity(median(figures[theirs]))}/s")
    if "drain" in rows:
        ratio("drain", f"drain {quantity(JOBS)} no-op jobs, history kept", "drain", "ceiling", 0.5, "ceiling")
    if "nohistory" in rows:
        ratio("nohistory", "the same with no history", "drain0", "ceiling0", 0.3, "ceiling")
    if directory and "graphile" in rows:
        ratio("graphile", "beside graphile-worker 0.18, no history", "drain0", "graphile", 2.5, "graphile-worker")
    for language in languages:
        name = LANGUAGES[language][0]
        ratio(language, f"{name} handler, history kept", language, "ceiling", 0.3, "ceiling")
        if directory:
            ratio(language, f"{name} handler beside graphile-worker, no history", language + "0", "graphile", 1.5,
                  "graphile-worker")
    if directory is None and ("graphile" in rows or languages):
        b.note("graphile: npm, or its registry, cannot be reached; rows left out")


def build_backlog(b, ready, delayed):
    """A database to copy from, with so many ready and delayed jobs."""
    b.cluster.create_database("bench_backlog", "bench_template")
    conn = b.connect("bench_backlog")
    b.declare(conn)
    b.fill(conn, ready, batch=5000)
    b.fill(conn, delayed, batch=5000, delay="30 days")
    conn.execute("vacuum analyze pgconductor.executions")
    conn.close()


def drain_first(b, name, jobs):
    """Jobs/s from the first job's start to the given number run; the most memory that master and worker took."""
    conn = b.connect(name)
    conn.execute("checkpoint")
    counter = Counter(b.tmp)
    server = b.server(name, b.noop_config(counter))
    wait_all_run(counter, jobs, server)
    rate = jobs / (time.time() - counter.first)
    memory = processes.resident_kib(server.pid)[1], processes.resident_kib(server.worker())[1]
    server.kill9()
    conn.close()
    return rate, memory


def backlog(b, rows):
    """Row backlog (and memory): the first 200,000 of 2,000,000 ready with 1,000,000 delayed behind."""
    ready, delayed = 10 * JOBS, 5 * JOBS
    build_backlog(b, ready, delayed)
    rates, pairs, masters, workers = [], [], [], []
    for _ in range(ROUNDS):
        name, conn = ready_database(b, True, JOBS)
        conn.close()
        alone, _ = drain_first(b, name, JOBS)
        rate, (master, worker) = drain_first(b, b.database("bench_backlog"), JOBS)
        pairs.append(rate / alone)
        rates.append(rate)
        masters.append(master)
        workers.append(worker)
    b.cluster.drop_database("bench_backlog")
    if "backlog" in rows:
        b.report("backlog", f"first {quantity(JOBS)} of {quantity(ready)}, {quantity(delayed)} delayed", median(pairs),
                 0.9, detail=f"{quantity(median(rates))}/s")
    if "memory" in rows:
        b.report("memory", "master's highest at that backlog", max(masters) / 1024, 64, False, unit="MiB")
        b.report("memory", "worker's highest at that backlog", max(workers) / 1024, 16, False, unit="MiB")
