"""An append-only ledger that handlers write outside the database, so that it can be compared with the database.

One line per entry, written with a single O_APPEND write: ns, pid, kind, execution, attempt, rest. It is also a
program, for handlers in any language:  ledger.py FILE KIND [REST]  takes the execution from PGCONDUCTOR_ID.
"""

import collections
import os
import sys
import time

Entry = collections.namedtuple("Entry", "ns pid kind id attempt rest")


def append(path, kind, execution, attempt=0, rest=""):
    line = f"{time.time_ns()} {os.getpid()} {kind} {execution} {attempt} {rest}".rstrip() + "\n"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


class Ledger:
    """The reading side. Handlers get the path."""

    def __init__(self, path):
        self.path = str(path)
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o666))
        os.chmod(self.path, 0o666)

    def shell(self, kind):
        """A line of sh that appends an entry; for `exec` tasks."""
        return (f'echo "$(date +%s%N) $$ {kind} $PGCONDUCTOR_ID $PGCONDUCTOR_ATTEMPT" >>{self.path}')

    def entries(self, kind=None, execution=None):
        found = []
        with open(self.path, encoding="utf-8") as file:
            for line in file:
                if not line.endswith("\n"):
                    break
                ns, pid, what, which, attempt, *rest = line.rstrip("\n").split(" ", 5)
                entry = Entry(int(ns), int(pid), what, int(which), int(attempt), rest[0] if rest else "")
                if kind in (None, entry.kind) and execution in (None, entry.id):
                    found.append(entry)
        return found

    def counts(self, kind):
        """Execution -> how many entries of a kind."""
        return collections.Counter(entry.id for entry in self.entries(kind))


if __name__ == "__main__":
    append(sys.argv[1], sys.argv[2], os.environ["PGCONDUCTOR_ID"], os.environ.get("PGCONDUCTOR_ATTEMPT", "0"),
           " ".join(sys.argv[3:]))
