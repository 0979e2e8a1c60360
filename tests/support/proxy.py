"""A proxy between pgconductor and PostgreSQL, on a Unix socket, that can hold back what the server answers.

    with Proxy(cluster.dir, short_tmp) as proxy:
        server(dsn=proxy.dsn("test"))
        proxy.hold("reader")                      # its answers stay in the proxy
        wait_for(lambda: proxy.held("reader"))    # one has come
        proxy.let_go("reader")
        proxy.hide_end("writer")                  # the server's end of the connection is kept from the client
        proxy.cut("writer")                       # that end comes now

A link is known by the role that it tells setup_session: writer, reader, listener, sleeper, control. With pid_offset
every session seems to have another backend than it has, as behind a pooler. With tcp it listens on a port of 127.0.0.1.
"""

import os
import re
import select
import socket
import struct
import threading


class Link:
    def __init__(self, client, server):
        self.client = client
        self.server = server
        self.role = None
        self.held = b""
        self.said = b""
        self.greeted = False
        self.ended = False          # at the server's side, and hidden

    def sockets(self):
        return (self.client,) if self.ended else (self.client, self.server)


class Proxy:
    def __init__(self, directory, own_directory, port=5432, pid_offset=0, tcp=False):
        self.upstream = f"{directory}/.s.PGSQL.{port}"
        self.dir = own_directory
        self.port = port
        self.pid_offset = pid_offset
        self.links = []
        self.accepted = 0
        self.holding = set()
        self.hiding = set()
        self.lock = threading.Lock()
        if tcp:
            self.listener = socket.socket()
            self.listener.bind(("127.0.0.1", 0))
            self.port = self.listener.getsockname()[1]
        else:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(f"{own_directory}/.s.PGSQL.{port}")
        self.listener.listen(64)
        self.waker, self.woken = os.pipe()[::-1]
        self.ended = False
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.ended = True
        os.write(self.waker, b"x")
        self.thread.join()
        for link in self.links:
            link.client.close()
            link.server.close()
        self.listener.close()

    def dsn(self, dbname):
        return f"host={self.dir} port={self.port} user=postgres dbname={dbname}"

    # ---- for tests ----

    def hold(self, role):
        with self.lock:
            self.holding.add(role)

    def hide_end(self, role, on=True):
        with self.lock:
            (self.hiding.add if on else self.hiding.discard)(role)

    def cut(self, role):
        """Such connections as there are now end at the server; the client does not hear of it."""
        with self.lock:
            for link in self.links:
                if link.role == role and not link.ended:
                    link.ended = True
                    link.server.shutdown(socket.SHUT_RDWR)

    def held(self, role):
        """How many bytes are held back."""
        with self.lock:
            return sum(len(link.held) for link in self.links if link.role == role)

    def let_go(self, role):
        with self.lock:
            self.holding.discard(role)
            for link in self.links:
                if link.role == role and link.held:
                    link.client.sendall(link.held)
                    link.held = b""

    # ---- the proxy ----

    def _accept(self):
        client, _ = self.listener.accept()
        self.accepted += 1
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self.upstream)
        except OSError:
            client.close()
            server.close()
            return
        self.links.append(Link(client, server))

    def _greeting(self, link, data):
        """Watches for the key data of a new session, message by message; gives it another pid."""
        link.said += data
        out = b""
        while len(link.said) >= 5:
            length = 1 + struct.unpack(">I", link.said[1:5])[0]
            if len(link.said) < length:
                break
            message, link.said = link.said[:length], link.said[length:]
            if message[:1] == b"K":
                pid, = struct.unpack(">I", message[5:9])
                message = message[:5] + struct.pack(">I", pid + self.pid_offset) + message[9:]
            out += message
            if message[:1] == b"Z":
                link.greeted = True
                out += link.said
                break
        return out

    def _forward(self, link, source):
        try:
            data = source.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            return False
        if source is link.client:
            found = link.role is None and re.search(rb"\0\0\0(.)(writer|reader|listener|sleeper|control)", data, re.S)
            if found and found[1][0] == len(found[2]):
                link.role = found[2].decode()
            if link.ended:
                return True
            target = link.server
        else:
            if self.pid_offset and not link.greeted:
                data = self._greeting(link, data)
            target = link.client
            if link.role in self.holding or link.held:
                link.held += data
                return True
        try:
            target.sendall(data)
        except ConnectionError:
            # That the server has ended may be met here first.
            link.ended = target is link.server and link.role in self.hiding
            return link.ended
        return True

    def _loop(self):
        while not self.ended:
            owners = {s: link for link in self.links for s in link.sockets()}
            ready, _, _ = select.select([self.listener, self.woken, *owners], [], [])
            with self.lock:
                for s in ready:
                    if s is self.listener:
                        self._accept()
                    elif s in owners and owners[s] in self.links and not self._forward(owners[s], s):
                        self._end(owners[s], s)

    def _end(self, link, side):
        if side is link.server and (link.ended or link.role in self.hiding):
            link.ended = True
            return
        self.links.remove(link)
        link.client.close()
        link.server.close()
