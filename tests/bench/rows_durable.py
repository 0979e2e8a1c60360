"""Executions that last: steps, children, sleep, and coming back to what was saved."""

import shutil
import time

from harness import (CONCURRENCY, JOBS, ROUNDS, Counter, json, median, paths, quantity, wait_empty, wait_for, wait_serving,
                     wait_true)
from rows_drain import ceiling

STEPS = 20
IN_FLIGHT = 200
REPLAYED = 1000
REPLAYS = 20


def config(command, concurrency, env=()):
    words = ", ".join(f'"{word}"' for word in command)
    settings = f" env = {{ {', '.join(json.dumps(e) for e in env)} }}" if env else ""
    return (f'queue "default" {{ concurrency = {concurrency} credit = {concurrency} handler = "durable" }}\n'
            f'handler "durable" {{ command = {{{words}}}{settings} }}\n')


def c_handler(counter, concurrency):
    return config([paths.built("tests/bench/durable_handler"), str(concurrency), counter.path], concurrency)


def python_handler(counter, concurrency):
    return config(["/usr/bin/python3", f"{paths.SRC}/tests/bench/durable.py", str(concurrency), counter.path], concurrency,
                  [f"PYTHONPATH={paths.SRC}/proto/python"])


def node_handler(counter, concurrency):
    return config([shutil.which("node"), f"{paths.SRC}/tests/bench/durable.mjs", f"{paths.SRC}/proto/node/src/index.js",
                   str(concurrency), counter.path], concurrency)


LANGUAGES = {"C": (c_handler, 0.25), "Python": (python_handler, 0.08), "Node": (node_handler, 0.08)}


class Scene:
    """A fresh database and a server on it that is up."""

    def __init__(self, b, handler=c_handler, concurrency=CONCURRENCY):
        name = b.database()
        self.b, self.conn = b, b.connect(name)
        self.counter = Counter(b.tmp)
        self.server = b.server(name, handler(self.counter, concurrency))
        wait_serving(self.conn, self.server)

    def invoke(self, task, n, payload):
        """So many, each with this payload, in one transaction: nothing of them is to be seen before all are."""
        with self.conn.transaction():
            for at in range(0, n, 1000):
                items = json.dumps([{"payload": payload}] * min(1000, n - at))
                self.conn.execute("select pgconductor.invoke_batch(%s, %s)", (task, items))

    def end(self, executions, jobs):
        """Wait until nothing is left; stop, and check how much has been done. Returns the time of the end."""
        settled = wait_empty(self.conn)
        self.server.stop()
        done = self.conn.execute("select count(*) from pgconductor.finished_executions where state = 'completed'").fetchone()
        assert done == (executions,), done
        assert self.counter.jobs == jobs, self.counter.jobs
        self.conn.close()
        return settled


def steps_rate(b, language):
    """Acknowledged steps/s of executions that each wait for one before the next."""
    executions = JOBS // 50
    scene = Scene(b, LANGUAGES[language][0], IN_FLIGHT)
    scene.invoke("steps", executions, {"pad": "x"})
    return executions * STEPS / (scene.end(executions, executions * STEPS) - scene.counter.first)


def pairs_rate(b):
    pairs = JOBS // 10
    scene = Scene(b)
    scene.invoke("pair", pairs, {"pad": "x"})
    return pairs / (scene.end(2 * pairs, pairs) - scene.counter.first)


def resumes_rate(b):
    """All sleep until the same moment: from the first that is resumed then, to the last that has finished."""
    naps = JOBS // 8
    scene = Scene(b)
    until = time.time() + 4 + naps / 5000
    scene.invoke("nap", naps, {"ms": int(until * 1000)})
    wait_true(scene.conn, f"select count(*) = {naps} from pgconductor.executions where waiting = 'suspended'")
    assert time.time() < until, "they did not all sleep in time"
    scene.conn.execute("checkpoint")
    return naps / (scene.end(naps, naps) - scene.counter.first)


def replay_ms(b):
    """What 1,000 saved steps add to the time in which an execution is there again."""
    medians = []
    for n in (REPLAYED, 0):
        scene = Scene(b)
        for i in range(REPLAYS):
            scene.invoke("replay", 1, {"n": n})
            wait_for(lambda: scene.counter.jobs == i + 1, 30, "it has been run again", poll=0.002)
        scene.end(REPLAYS, REPLAYS)
        medians.append(median(scene.counter.samples()) / 1e6)
    return medians


def durable(b, rows):
    """Rows steps, children, resumes and replay, interleaved with the ceiling."""
    languages = [one for one in LANGUAGES if one != "Node" or shutil.which("node")] if "steps" in rows else []
    kinds = {one: lambda one=one: steps_rate(b, one) for one in languages}
    if "children" in rows:
        kinds["children"] = lambda: pairs_rate(b)
    if "resumes" in rows:
        kinds["resumes"] = lambda: resumes_rate(b)
    figures = {kind: [] for kind in kinds}
    tops = {kind: [] for kind in kinds}
    for _ in range(ROUNDS if kinds else 0):
        top = ceiling(b, True)
        for kind, measure in kinds.items():
            figures[kind].append(measure())
            tops[kind].append(top)

    def report(row, kind, what, target):
        pairs = [x / y for x, y in zip(figures[kind], tops[kind])]
        b.report(row, what, median(pairs), target,
                 detail=f"{quantity(median(figures[kind]))}/s, ceiling {quantity(median(tops[kind]))}/s")
    for language in languages:
        report("steps", language, f"steps saved, {IN_FLIGHT} executions at once, {language}", LANGUAGES[language][1])
    if "children" in rows:
        report("children", "children", "a parent and one child", 0.06)
    if "resumes" in rows:
        report("resumes", "resumes", "resumed from sleep and finished", 0.1)
    if "replay" in rows:
        found = [replay_ms(b) for _ in range(ROUNDS)]
        b.report("replay", f"{quantity(REPLAYED)} saved steps are there again", median([x - y for x, y in found]), 20, False,
                 f"there again after {median([x for x, _ in found]):.1f} ms; with none {median([y for _, y in found]):.1f} ms",
                 " ms")
