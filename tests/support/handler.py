"""A small handler in plain Python, for tests: the protocol and nothing more, so that a test can also break it.

    from support.handler import Handler
    h = Handler(credit=4, concurrency=2)
    @h.task("greet")
    def greet(run): return {"hello": run.payload["name"]}
    h.serve()

A function gets a Run and returns something JSON can hold, or raises Fail or Suspend. What is said of its execution but
CANCEL comes to run.inbox, as (name, map), where functions run in threads. With concurrency above one, each runs in a
thread. h.send(name, exec, map) sends anything, well-formed or not.
"""

import concurrent.futures
import json
import os
import queue
import socket
import struct
import sys
import threading
import traceback

import msgpack

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from support.paths import message_numbers  # noqa: E402

NUMBER = message_numbers()
NAME = {number: name for name, number in NUMBER.items()}


class Fail(Exception):
    """Ends the attempt with these fields of FAIL."""

    def __init__(self, message, code="app", **fields):
        super().__init__(message)
        self.fields = {"code": code, "message": message, **fields}


class Suspend(Exception):
    """Ends the run with SUSPEND: waits, and its other fields."""

    def __init__(self, waits, **fields):
        super().__init__("suspended")
        self.fields = {"waits": waits, **fields}


class RawJSON(str):
    """A result that is JSON text already."""


class Run:
    def __init__(self, execution, fields):
        self.exec = execution
        self.fields = fields
        self.id = int(fields["id"])
        self.task = fields["task"]
        self.attempt = fields["attempt"]
        self.text = fields["event"]["payload"]
        self.cancelled = threading.Event()
        self.reason = None
        self.inbox = queue.Queue()

    @property
    def payload(self):
        return json.loads(self.text)


class Handler:
    def __init__(self, credit=1, concurrency=None, fd=None, **hello):
        self.credit = credit
        self.concurrency = concurrency or 1
        self.hello = hello
        self.tasks = {}
        self.options = {}
        self.running = {}
        self.welcome = None
        self.lock = threading.Lock()
        self.idle = threading.Condition()
        # In the order in which they came, as the worker supposes when it tells what a dead handler was running.
        self.threads = concurrent.futures.ThreadPoolExecutor(self.concurrency)
        self.sock = socket.socket(fileno=fd if fd is not None else int(os.environ["PGCONDUCTOR_FD"]))

    def task(self, name, queue=None, **options):
        def register(function):
            self.tasks[name] = function
            entry = {"name": name}
            if queue:
                entry["queue"] = queue
            if options:
                entry["options"] = json.dumps(options)
            self.options[name] = entry
            return function
        return register

    def send_raw(self, data):
        with self.lock:
            self.sock.sendall(data)

    def send(self, name, execution=0, fields=None):
        body = msgpack.packb([NUMBER.get(name, name), execution, fields or {}])
        self.send_raw(struct.pack(">I", len(body)) + body)

    def _exactly(self, length):
        data = bytearray()
        while len(data) < length:
            piece = self.sock.recv(length - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def receive(self):
        """The next frame as (name, exec, map). EOFError at the end."""
        body = self._exactly(struct.unpack(">I", self._exactly(4))[0])
        number, execution, fields = msgpack.unpackb(body, raw=False, strict_map_key=False)
        return NAME.get(number, number), execution, fields

    def say_hello(self):
        queue = os.environ.get("PGCONDUCTOR_QUEUE")
        tasks = [t for t in self.options.values() if not queue or t.get("queue", "default") == queue]
        self.send("HELLO", 0, {"protocols": [1], "sdk": "test", "version": "0", "credit": self.credit,
                               "concurrency": self.concurrency, "tasks": tasks} | self.hello)

    def run(self, run):
        """Call the task's function; DONE or FAIL is its answer."""
        try:
            result = self.tasks[run.task](run)
            text = result if isinstance(result, RawJSON) else json.dumps(result)
            answer = ("DONE", {"result": text})
        except Fail as fail:
            answer = ("FAIL", fail.fields)
        except Suspend as suspend:
            answer = ("SUSPEND", suspend.fields)
        except Exception as error:  # whatever a task raises is its failure
            answer = ("FAIL", {"code": "app", "message": str(error), "type": type(error).__name__,
                               "stack": traceback.format_exc()})
        try:
            self.send(answer[0], run.exec, answer[1])
        except OSError:
            os._exit(0)
        with self.idle:
            self.running.pop(run.exec, None)
            self.idle.notify_all()

    def serve(self):
        self.say_hello()
        while True:
            try:
                name, execution, fields = self.receive()
            except (EOFError, ConnectionError):
                os._exit(0)
            if name == "WELCOME":
                self.welcome = fields
            elif name == "RUN":
                run = self.running[execution] = Run(execution, fields)
                if self.concurrency > 1:
                    self.threads.submit(self.run, run)
                else:
                    self.run(run)
            elif name == "CANCEL" and execution in self.running:
                self.running[execution].reason = fields["reason"]
                self.running[execution].cancelled.set()
            elif execution in self.running:
                self.running[execution].inbox.put((name, fields))
            elif name == "DRAIN":
                threading.Thread(target=self._drain, daemon=True).start()
            elif name == "REJECT":
                print("rejected:", fields, file=sys.stderr, flush=True)
                os._exit(1)

    def _drain(self):
        with self.idle:
            self.idle.wait_for(lambda: not self.running)
        try:
            self.send("BYE")
        except OSError:
            pass
        os._exit(0)
