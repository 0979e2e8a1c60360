"""A master for the tests of the worker: the real `pgconductor _worker QUEUE` at the other end of a socketpair.

    with FakeMaster() as m:
        m.setup(m.program("app", HANDLER))
        m.announced()
        m.run(7, "greet", '{"name": "World"}')
        assert m.final(7) == ("DONE", {"result": '…'})

Frames are kept in the order they came; what waits for one looks through those not yet taken. WORKER in the environment
names another binary to test.
"""

import atexit
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import msgpack

from support import paths
from support.wait import wait_for

NUMBER = paths.message_numbers()
NAME = {number: name for name, number in NUMBER.items()}
FINAL = ("DONE", "FAIL", "DEFERRED", "RETURNED")
TESTS = os.path.join(paths.SRC, "tests")

# What every Python handler of these tests begins with.
PRELUDE = f"""
import json, os, signal, socket, struct, sys, threading, time
sys.path.insert(0, {TESTS!r})
sys.dont_write_bytecode = True
from support.handler import Handler, Fail, RawJSON
"""


class FakeMaster:
    def __init__(self, queue="default", max_payload=16 << 20, concurrency=100, kill_grace_ms=5000, terminal=False,
                 level="debug", format="text"):
        self.queue = queue
        self.settings = {"concurrency": concurrency, "max_payload": max_payload, "kill_grace_ms": kill_grace_ms,
                         "terminal": terminal}
        self.frames = []
        self.buffer = bytearray()
        self.closed = False
        self.slots = {}
        self.has_announced = set()
        self.directory = tempfile.mkdtemp(prefix="pgc-worker-")
        # Not before: a test may look at it afterwards.
        atexit.register(shutil.rmtree, self.directory, True)
        self.log_path = os.path.join(self.directory, "log")
        ours, theirs = socket.socketpair()
        self.sock = ours
        self.sock.setblocking(False)
        binary = os.environ.get("WORKER", paths.PGCONDUCTOR)
        # What is freed shall not count as memory of the worker.
        sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([binary, "_worker", queue, level, format],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(),
                                            preexec_fn=_socket_at_3(theirs.fileno()), close_fds=False,
                                            env=os.environ | {"ASAN_OPTIONS": sanitizer})
        theirs.close()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.sock.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the worker did not end with its master\n" + self.log())
        finally:
            print(self.log())
        assert "Sanitizer" not in self.log()
        assert "runtime error" not in self.log()
        if failure[0] is None:
            assert self.process.returncode == 0

    def log(self):
        with open(self.log_path, "rb") as file:
            return file.read().decode("utf-8", "replace")

    def logged(self, text, timeout=10):
        wait_for(lambda: text in self.log(), timeout, f"{text!r} in the log")

    # Programs

    def file(self, name, text, mode=0o755):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def program(self, name, source=None, argv=None, env=(), **fields):
        """A long-lived handler: Python source after PRELUDE, or an argv."""
        if argv is None:
            argv = [sys.executable, self.file(f"{name}-{time.monotonic_ns()}.py", PRELUDE + source)]
        env = {"PATH": os.environ["PATH"], "PGC_SRCDIR": paths.SRC} | dict(env)
        return {"name": name, "argv": argv, "env": [{"key": k, "value": v} for k, v in env.items()], "processes": 1,
                "credit": 0, "max_runs": 0, "memory": 0, "idle_timeout_ms": 0, "rlimits": [], "discover": False} | fields

    def command(self, task, script=None, argv=None, **fields):
        """A one-shot command: a shell script, or an argv."""
        if argv is None:
            argv = [self.file(f"{task}-{time.monotonic_ns()}.sh", "#!/bin/sh\n" + script)]
        return self.program(task, argv=argv, command_task=task, **fields)

    # Frames

    def send(self, name, execution=0, fields=None):
        body = msgpack.packb([NUMBER.get(name, name), execution, fields or {}])
        self.send_raw(struct.pack(">I", len(body)) + body)

    def send_raw(self, data):
        data = memoryview(data)
        while data:
            _, writable, _ = select.select([], [self.sock], [], 10)
            assert writable, "the worker does not read\n" + self.log()
            data = data[self.sock.send(data):]

    def setup(self, *programs, **settings):
        self.slots = {}
        self.has_announced = set()
        self.send("SETUP", 0, {"queue": self.queue, "programs": list(programs)} | self.settings | settings)

    def run(self, execution, task, payload="null", id=None, attempt=1, pool=0, **fields):
        """Spends a slot of that pool, as the master would: self.slots is what is free."""
        self.slots[pool] = self.slots.get(pool, 0) - 1
        self.send("RUN", execution, {"id": str(id or execution), "task": task, "attempt": attempt, "token": "t",
                                     "event": {"name": "pgconductor.invoke", "payload": payload}} | fields)

    def cancel(self, execution, reason="cancelled", grace_ms=5000):
        self.send("CANCEL", execution, {"reason": reason, "grace_ms": grace_ms})

    def drain(self, deadline_ms=10000):
        self.send("DRAIN", 0, {"deadline_ms": deadline_ms})

    def read(self, timeout=0.0):
        """Take what has come; waits up to timeout for something."""
        if self.closed:
            return
        readable, _, _ = select.select([self.sock], [], [], timeout)
        if not readable:
            return
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            return
        self.buffer += data
        while len(self.buffer) >= 4:
            length = struct.unpack(">I", self.buffer[:4])[0]
            if len(self.buffer) < 4 + length:
                break
            number, execution, fields = msgpack.unpackb(self.buffer[4:4 + length], raw=False, strict_map_key=False,
                                                        max_str_len=1 << 30)
            del self.buffer[:4 + length]
            name = NAME.get(number, number)
            if name == "ANNOUNCE":
                self.has_announced.add(fields["pool"])
            # What a pool says between SETUP and its ANNOUNCE was said before the worker read SETUP.
            if name == "SLOTS" and fields["pool"] in self.has_announced:
                self.slots[fields["pool"]] = self.slots.get(fields["pool"], 0) + fields["slots"]
            self.frames.append((name, execution, fields))

    def expect(self, match, timeout=20, what="frame"):
        """Take the first frame for which match(name, exec, fields) is true."""
        deadline = time.monotonic() + timeout
        while True:
            for i, frame in enumerate(self.frames):
                if match(*frame):
                    return self.frames.pop(i)
            left = deadline - time.monotonic()
            assert left > 0 and not self.closed, \
                f"no {what} within {timeout} s; there are {self.frames[-20:]}\n{self.log()}"
            self.read(left)

    def none(self, match, seconds):
        """Nothing of the kind comes for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            assert not any(match(*frame) for frame in self.frames), self.frames
            self.read(left)

    def announced(self, pool=0, timeout=20):
        return self.expect(lambda n, x, f: n == "ANNOUNCE" and f["pool"] == pool, timeout, f"ANNOUNCE of {pool}")[2]

    def wait_slots(self, n, pool=0, timeout=20):
        deadline = time.monotonic() + timeout
        while self.slots.get(pool, 0) != n:
            left = deadline - time.monotonic()
            assert left > 0 and not self.closed, f"{self.slots} slots, not {n}\n{self.log()}"
            self.read(left)

    def ready(self, n=1, pool=0, timeout=20):
        """Announced, with n slots."""
        announced = self.announced(pool, timeout)
        self.wait_slots(n, pool, timeout)
        return announced

    def final(self, execution, timeout=20):
        """(name, fields) of what ends an execution."""
        def ends(name, x, fields):
            if name == "RETURNED":
                return execution in fields["execs"]
            return name in FINAL and x == execution
        name, _, fields = self.expect(ends, timeout, f"final frame of {execution}")
        if name == "RETURNED":
            fields["execs"].remove(execution)
            if fields["execs"]:
                self.frames.insert(0, (name, 0, fields))
        return name, fields

    def done(self, execution, timeout=20):
        name, fields = self.final(execution, timeout)
        assert name == "DONE", (name, fields)
        return fields.get("result")

    def failed(self, execution, code=None, timeout=20):
        name, fields = self.final(execution, timeout)
        assert name == "FAIL", (name, fields)
        assert code is None or fields["code"] == code, fields
        return fields

    def started(self, execution, timeout=20):
        """The pid that it was given to."""
        frame = self.expect(lambda n, x, f: n == "STARTED" and execution in f["execs"], timeout,
                            f"STARTED of {execution}")
        frame[2]["execs"].remove(execution)
        if frame[2]["execs"]:
            self.frames.insert(0, frame)
        return frame[2]["pid"]

    def children(self):
        """Pids of the worker's children."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(p) for p in file.read().split()]


def _socket_at_3(fd):
    def place():
        os.setpgid(0, 0)
        if fd == 3:
            os.set_inheritable(3, True)
        else:
            os.dup2(fd, 3)
        os.closerange(4, 1024)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return place
