"""A proxy that breaks the writer's connection around its settling statements, so that the fate of their COMMIT is unknown.

    with Cutter(cluster.dir, short_tmp, seed) as cutter: server(dsn=cutter.dsn("test")) …

While cutting is set, each settling statement (statements: what their names begin with) is let through or cut in one of
these ways:

before     nothing of it reaches PostgreSQL
half       a part of its message does, which is nothing
sent       all of it does, and the connection is gone before there is an answer
answered   the answer, too, which is kept back: it was committed

stall(part) lets the next one through only in part, and nothing after it until go_on(): "half" of its message, or all of
it "unsynced", which leaves the session in the middle of a pipeline.

Each direction of a connection has a thread of its own, so that a stopped master holds up nobody else.
"""

import collections
import random
import re
import socket
import struct
import threading

WAYS = ("before", "half", "sent", "answered")
ROLE = re.compile(rb"\0\0\0(.)(writer|reader|listener|sleeper|control)", re.S)


class Link:
    def __init__(self, client, server):
        self.client, self.server = client, server
        self.role = None
        self.doomed = False
        self.rest = b""     # of a message that has not come as a whole
        self.batch = b""    # messages of a settling statement, until its Sync
        self.late = None    # of a stalled one: what comes after go_on()

    def close(self):
        for end in (self.client, self.server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Cutter:
    def __init__(self, directory, own_directory, seed, share=0.5, port=5432, statements=("settle_",)):
        self.upstream = f"{directory}/.s.PGSQL.{port}"
        self.dir, self.port, self.share, self.statements = own_directory, port, share, statements
        self.dice = random.Random(seed)
        self.cutting = False
        self.cuts = collections.Counter()
        self.stalling = self.stalled = None
        self.lock = threading.Lock()
        self.links = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{own_directory}/.s.PGSQL.{port}")
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.listener.shutdown(socket.SHUT_RDWR)
        for link in self.links:
            link.close()

    def dsn(self, dbname):
        return f"host={self.dir} port={self.port} user=postgres dbname={dbname}"

    def stall(self, part):
        self.stalling = part

    def go_on(self):
        with self.lock:
            link, self.stalled = self.stalled, None
            late, link.late = link.late, None
        try:
            link.server.sendall(late)
        except OSError:
            pass

    # ---- the proxy ----

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.upstream)
            except OSError:
                client.close()
                server.close()
                continue
            link = Link(client, server)
            self.links.append(link)
            for pump in (self._from_client, self._from_server):
                threading.Thread(target=self._pump, args=(link, pump), daemon=True).start()

    def _pump(self, link, pump):
        source, target = ((link.client, link.server) if pump == self._from_client else (link.server, link.client))
        try:
            while data := source.recv(1 << 16):
                data = pump(link, data)
                if data is None:
                    break
                target.sendall(data)
        except OSError:
            pass
        link.close()

    def _from_server(self, link, data):
        if not link.doomed:
            return data
        self.cuts["answered"] += 1
        return None

    def _from_client(self, link, data):
        if link.role is None:
            found = ROLE.search(data)
            if found and found[1][0] == len(found[2]):
                link.role = found[2].decode()
            return data
        return self._from_writer(link, data) if link.role == "writer" else data

    def _from_writer(self, link, data):
        """Message by message; from the Bind of a settling statement to its Sync they are kept together."""
        with self.lock:
            if link.late is not None:
                link.late += data
                return b""
        link.rest += data
        out = b""
        while len(link.rest) >= 5:
            length = 1 + struct.unpack(">I", link.rest[1:5])[0]
            if len(link.rest) < length:
                break
            message, link.rest = link.rest[:length], link.rest[length:]
            settles = message[:1] == b"B" and message[5:].split(b"\0", 2)[1].decode().startswith(self.statements)
            if not link.batch and not settles:
                out += message
                continue
            link.batch += message
            if message[:1] != b"S":
                continue
            if self.stalling:
                return self._stall(link, out)
            if self.cutting and not link.doomed and self.dice.random() < self.share:
                return self._cut(link, out)
            out += link.batch
            link.batch = b""
        return out

    def _stall(self, link, out):
        at = len(link.batch) // 2 if self.stalling == "half" else -5
        with self.lock:
            link.late = link.batch[at:] + link.rest
            self.stalling, self.stalled = None, link
        out += link.batch[:at]
        link.batch = link.rest = b""
        return out

    def _cut(self, link, out):
        way = self.dice.choice(WAYS)
        if way == "half":
            out += link.batch[:len(link.batch) // 2]
        elif way in ("sent", "answered"):
            out += link.batch
        link.batch = b""
        if way == "answered":
            link.doomed = True
            return out
        self.cuts[way] += 1
        try:
            link.server.sendall(out)
        except OSError:
            pass
        return None
