"""Everything at once, at random: handlers that answer, fail, crash, hang and leave; a master that cancels and reloads.

Whatever happens, each RUN has exactly one final frame, STARTED comes before it, and in the end every slot is back.
"""

import json
import random
import time

from support.fakemaster import FakeMaster

# Decides by the payload what to do with each execution; also does a few things unasked.
HANDLER = """
import random
chance = random.Random(os.getpid() * 7919 + int(os.environ["SEED"]))
prefix = os.environ["PREFIX"]
capabilities = [c for c in ("cancel", "drain") if chance.random() < 0.7]
h = Handler(credit=8, concurrency=chance.choice([1, 3, 8]), capabilities=capabilities,
            tasks=[{"name": prefix + "x"}, {"name": prefix + "y"}])
if chance.random() < 0.3: signal.signal(signal.SIGTERM, signal.SIG_IGN)
if chance.random() < 0.1: os._exit(1)
h.say_hello()
open_runs = {}
def end(x):
    what = open_runs.pop(x)
    if what == "fail": h.send("FAIL", x, {"code": "app", "message": "no"})
    elif what == "nojson": h.send("DONE", x, {"result": "nope"})
    else: h.send("DONE", x, {"result": json.dumps(what)})
try:
    while True:
        name, x, fields = h.receive()
        if name == "RUN":
            what = open_runs[x] = json.loads(fields["event"]["payload"])
            if what == "crash": os.kill(os.getpid(), 9)
            if what == "exit": os._exit(3)
            if what == "rude": h.send("DONE", 999999999, {})
            if what == "bye":
                h.send("BYE")
                os._exit(0)
            if what == "log": h.send("LOG", x, {"level": "info", "message": "hello"})
            if what == "print": print("line", x, flush=True)
            if what == "orphan":
                import subprocess
                subprocess.Popen(["setsid", "-f", "sleep", "600"])
            for y in list(open_runs):
                if open_runs[y] != "hang" and chance.random() < 0.8: end(y)
        elif name == "CANCEL" and x in open_runs:
            if chance.random() < 0.7: end(x)
        elif name == "DRAIN":
            for y in list(open_runs): end(y)
            h.send("BYE")
            break
except (EOFError, OSError):
    pass
"""
SCRIPT = """read -r what
case $what in
'"crash"') kill -9 $$ ;;
'"exit"') exit 3 ;;
'"hang"') sleep 600 & wait ;;
'"fail"') echo no >&2; exit 65 ;;
'"bye"') exit 75 ;;
'"orphan"') setsid -f sleep 600 >/dev/null 2>&1 ;;
*) echo "$what" ;;
esac
"""
USUAL = ["done"] * 30 + ["log", "print", "fail", "nojson"]
RARE = ["crash", "exit", "rude", "bye", "hang", "orphan"]


class Soak:
    def __init__(self, m, chance):
        self.m = m
        self.chance = chance
        self.next = 1
        self.open = {}
        self.started = set()
        self.finals = {}
        self.reload()

    def reload(self):
        m, chance = self.m, self.chance
        programs = [m.program(name, HANDLER, processes=chance.choice([1, 2]), max_runs=chance.choice([0, 40]),
                              idle_timeout_ms=chance.choice([0, 200]), env={"SEED": str(chance.random())[2:8],
                                                                            "PREFIX": name})
                    for name in ("a", "b")]
        programs.append(m.command("c", SCRIPT))
        if chance.random() < 0.3:
            programs.reverse()
        self.pools = [(p["name"], ["c"] if p["name"] == "c" else [p["name"] + "x", p["name"] + "y"]) for p in programs]
        m.setup(*programs)

    def take(self):
        """Account for the frames that came."""
        for name, x, fields in self.m.frames:
            if name == "STARTED":
                self.started.update(fields["execs"])
            ended = fields["execs"] if name == "RETURNED" else [x] if name in ("DONE", "FAIL", "DEFERRED") else []
            for y in ended:
                assert y in self.open, f"a second final frame of {y}: {name} {fields}, after {self.finals.get(y)}"
                assert name in ("RETURNED", "FAIL") or y in self.started, f"{name} of {y} before STARTED"
                self.finals[y] = name
                del self.open[y]
        self.m.frames.clear()

    def step(self):
        m, chance = self.m, self.chance
        for pool, (_, tasks) in enumerate(self.pools):
            for _ in range(min(m.slots.get(pool, 0), chance.randrange(4) if tasks != ["c"] else chance.randrange(2))):
                if len(self.open) >= 40:
                    break
                what = chance.choice(RARE if chance.random() < 0.02 else USUAL)
                fields = {"deadline_ms": 300} if what == "hang" or chance.random() < 0.1 else {}
                self.open[self.next] = what
                m.run(self.next, chance.choice(tasks), json.dumps(what), pool=pool, **fields)
                self.next += 1
        if self.open and chance.random() < 0.05:
            m.cancel(chance.choice(list(self.open)), grace_ms=chance.choice([0, 50, 500]))
        m.read(0.01 if chance.random() < 0.5 else 0)
        self.take()

    def settle(self):
        """Nothing new: all ends, all slots come back."""
        deadline = time.monotonic() + 60
        last = 0.0
        while self.open:
            assert time.monotonic() < deadline, f"never ended: {self.open}"
            # What has no time limit and is not being answered is cancelled, time and again: one may be behind others.
            if time.monotonic() - last > 1:
                for x in self.open:
                    self.m.cancel(x, grace_ms=100)
                last = time.monotonic()
            self.m.read(0.1)
            self.take()


def test_soak(seed, scale):
    chance = random.Random(seed)
    with FakeMaster(concurrency=40, kill_grace_ms=100, level="info") as m:
        soak = Soak(m, chance)
        for _ in range(scale(6, 60)):
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                soak.step()
            if chance.random() < 0.5:
                soak.reload()
        soak.settle()
        assert len(soak.finals) == soak.next - 1
        counts = {name: list(soak.finals.values()).count(name) for name in set(soak.finals.values())}
        print("seed", seed, "finals", counts)
        assert counts["DONE"] > 100
        # A process may have died just now, or start slowly after many deaths.
        deadline = time.monotonic() + 60
        while not all(m.slots.get(p, 0) >= (40 if tasks == ["c"] else 8) for p, (_, tasks) in enumerate(soak.pools)):
            assert time.monotonic() < deadline, f"slots are lost: {m.slots}"
            m.read(0.1)
            soak.take()
        m.drain(5000)
        m.expect(lambda n, x, f: n == "BYE")
        assert m.process.wait(10) == 0
