"""A proxy that cuts the writer's connection around its settling statements, so that the fate of their COMMIT is unknown.

    with Cutter(cluster.dir, short_tmp, seed) as cutter: server(dsn=cutter.dsn("test")) …

Each settling statement is let through or cut in one of these ways:

before     nothing of it reaches PostgreSQL
half       a part of its message does, which is nothing
sent       all of it does, and the connection is gone before there is an answer
answered   the answer, too, which is kept back: it was committed
"""

import collections
import random
import struct

from .proxy import Proxy

WAYS = ("before", "half", "sent", "answered")


class Cutter(Proxy):
    def __init__(self, directory, own_directory, seed, share=0.5):
        self.dice = random.Random(seed)
        self.share = share
        self.cutting = False
        self.cuts = collections.Counter()
        super().__init__(directory, own_directory)

    def _forward(self, link, source):
        if link.role != "writer":
            return super()._forward(link, source)
        try:
            data = source.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            return False
        if source is link.server:
            if getattr(link, "doomed", False):
                self.cuts["answered"] += 1
                return False
            return self._send(link.client, data)
        return self._from_writer(link, data)

    @staticmethod
    def _send(target, data):
        try:
            target.sendall(data)
        except ConnectionError:
            return False
        return True

    def _from_writer(self, link, data):
        """Message by message; from the Bind of a settling statement to its Sync they are kept together."""
        link.said += data
        out, link.batch = b"", getattr(link, "batch", b"")
        while len(link.said) >= 5:
            length = 1 + struct.unpack(">I", link.said[1:5])[0]
            if len(link.said) < length:
                break
            message, link.said = link.said[:length], link.said[length:]
            settles = message[:1] == b"B" and message[5:].split(b"\0", 2)[1].startswith(b"settle_")
            if not link.batch and not settles:
                out += message
                continue
            link.batch += message
            if message[:1] != b"S":
                continue
            if self.cutting and not getattr(link, "doomed", False) and self.dice.random() < self.share:
                return self._cut(link, out)
            out += link.batch
            link.batch = b""
        return self._send(link.server, out)

    def _cut(self, link, out):
        way = self.dice.choice(WAYS)
        if way == "half":
            out += link.batch[:len(link.batch) // 2]
        elif way in ("sent", "answered"):
            out += link.batch
        link.batch = b""
        self._send(link.server, out)
        if way == "answered":
            link.doomed = True
            return True
        self.cuts[way] += 1
        return False
