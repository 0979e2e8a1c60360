"""Documents whose code blocks are run, in the order in which a reader would: see test_documents.py.

A block's first word is its language. Behind it stand the name of the file it is (then it is written), or for a console
whether it is the terminal of the server; and the track that it belongs to, where the language does not say so:

    ```python tasks.py            a file of the track python
    ```console server shell       the server's terminal, in the track shell
    ```console                    what is typed, in every track: "$ command", and what it prints
    ```console soon               likewise, and repeated until it prints that
    ```sql                        run by psql on the server's database

What is printed is compared: … stands for anything, a line of its own for any lines, and blanks do not matter; "[exit N]" at the
end for the exit status, 0 if it is left out.
"""

import concurrent.futures
import multiprocessing
import os
import re
import shutil
import signal
import subprocess

from . import paths, processes
from .cluster import bindir, unprivileged
from .server import clean_environment
from .wait import wait_for

TRACKS = {"python": "python", "ts": "typescript", "sh": "shell"}
COMPILE = re.compile(r"(npx tsc .*) (\w+)\.ts")
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)


class Block:
    def __init__(self, document, match, line):
        words = match[2].split()
        self.document, self.where = document, f"{document}:{line}"
        self.language = match[1]
        self.text = match[3]
        self.server, self.soon = "server" in words, "soon" in words
        named = [word for word in words if word in TRACKS.values()]
        self.track = named[0] if named else TRACKS.get(self.language)
        rest = [word for word in words if word not in named and word not in ("server", "soon")]
        assert len(rest) <= 1, f"{self.where}: {match[2]}"
        self.file = rest[0] if rest else None


def blocks_of(document):
    with open(f"{paths.SRC}/{document}", encoding="utf-8") as file:
        text = file.read()
    found = [Block(document, match, text.count("\n", 0, match.start()) + 1) for match in FENCE.finditer(text)]
    # What is not fenced would be shown as code and not be run.
    assert not re.search(r"^(    |\t)\S", FENCE.sub("", text), re.M), f"{document}: a block without a fence"
    assert len(found) * 2 == len(re.findall(r"^```", text, re.M)), f"{document}: a block without a language"
    return found


def tracks_of(document):
    return sorted({block.track for block in blocks_of(document) if block.track})


def commands_of(block):
    """(command, what it is to print, its exit status)"""
    found = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append([line[2:], [], 0])
        elif status := re.fullmatch(r"\[exit (\d+)\]", line):
            found[-1][2] = int(status[1])
        else:
            found[-1][1].append(line)
    return found


def matches(wanted, printed):
    """Blanks do not matter. … is anything within a line; alone on a line, any lines."""
    def pattern(line):
        return ".*".join(" *".join(map(re.escape, part.split())) for part in line.split("…"))

    lines = [r"(?:.*\n)*" if line == "…" else f" *{pattern(line)} *\n" for line in wanted]
    return re.fullmatch("".join(lines), printed) is not None


INITDB = """#!/bin/bash
# initdb for the readers of many documents: what the first one has made is copied by the others.
set -e
for word; do
	case $word in --pgdata=*) data=${word#*=} ;; esac
done
exec 9>DIRECTORY/lock
flock 9
if [ ! -d DIRECTORY/data ]; then
	BINDIR/initdb "$@" 9>&-
	cp -a "$data" DIRECTORY/data.new
	mv DIRECTORY/data.new DIRECTORY/data
else
	flock -u 9
	cp -a DIRECTORY/data/. "$data"
fi
"""


def programs_with_one_initdb(directory):
    """PostgreSQL's programs, of which initdb does its work once. A directory for PATH, whose pg_config leads to them."""
    os.mkdir(f"{directory}/kept")
    if user := unprivileged():
        os.chown(f"{directory}/kept", user.pw_uid, user.pw_gid)
    os.mkdir(f"{directory}/postgres")
    for name in os.listdir(bindir()):
        os.symlink(f"{bindir()}/{name}", f"{directory}/postgres/{name}")
    os.unlink(f"{directory}/postgres/initdb")
    os.mkdir(f"{directory}/path")
    for name, text in (("postgres/initdb", INITDB.replace("DIRECTORY", f"{directory}/kept").replace("BINDIR", bindir())),
                       ("path/pg_config", f"#!/bin/sh\necho {directory}/postgres\n")):
        with open(f"{directory}/{name}", "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(f"{directory}/{name}", 0o755)
    return f"{directory}/path"


class Reader:
    """One who does what the document says.

    compiled: for the track typescript. beside: a directory whose files are there. links: what else is there, by name.
    path: a directory that comes first in PATH.
    """

    def __init__(self, directory, track, compiled=None, beside=None, links=None, path=""):
        self.directory, self.track, self.compiled = directory, track, compiled
        os.mkdir(f"{directory}/bin")
        os.symlink(paths.PGCONDUCTOR, f"{directory}/bin/pgconductor")
        # The one that Debian's packages are for.
        os.symlink("/usr/bin/python3", f"{directory}/bin/python3")
        self.project = f"{directory}/project"
        if beside:
            left_out = ("__pycache__", ".pgconductor", "*.o", ".libs", *(links or {}))
            shutil.copytree(beside, self.project, ignore=shutil.ignore_patterns(*left_out))
        else:
            os.mkdir(self.project)
        # The sources may be read-only.
        for own in (directory, self.project):
            os.chmod(own, 0o755)
        for name, target in (links or {}).items():
            os.symlink(target, f"{self.project}/{name}")
        if compiled:
            os.symlink(f"{compiled.directory}/node_modules", f"{self.project}/node_modules")
            self.write("package.json", '{"type": "module"}\n')
        self.env = clean_environment({"PATH": ":".join(filter(None, [f"{directory}/bin", path, os.environ["PATH"]])), "PYTHONDONTWRITEBYTECODE": "1",
                                      "PYTHONPATH": f"{paths.SRC}/proto/python", "HOME": directory,
                                      "npm_config_update_notifier": "false"})
        self.server = None

    def write(self, name, text):
        with open(f"{self.project}/{name}", "w", encoding="utf-8") as file:
            file.write(text)

    def run(self, command, stdin=None):
        return subprocess.run(["bash", "-c", command], cwd=self.project, env=self.env, input=stdin, text=True, timeout=90,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def check(self, block, command, wanted, status):
        if match := COMPILE.fullmatch(command):
            assert (wanted, status) == ([], 0), f"{block.where}: tsc prints nothing"
            self.compiled.copy(block, match[2], self.project)
            return

        def as_wanted():
            done = self.run(command)
            return done.returncode == status and matches(wanted, done.stdout)

        if block.soon:
            wait_for(as_wanted, 30, f"{block.where}: {command} prints what it is to print")
            return
        done = self.run(command)
        assert done.returncode == status, f"{block.where}: {command}: exit status {done.returncode}\n{done.stdout}"
        assert matches(wanted, done.stdout), f"{block.where}: {command}: printed\n{done.stdout}instead of\n" + "\n".join(wanted)

    def serve(self, block):
        """The last command goes on; Ctrl-C ends the one before it."""
        *before, (command, wanted, _) = commands_of(block)
        self.stop()
        for other, printed, status in before:
            self.check(block, other, printed, status)
        self.log = f"{self.directory}/server.log"
        with open(self.log, "wb") as log:
            self.server = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=self.project, env=self.env, stdout=log,
                                           stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                                           preexec_fn=processes.die_with_parent())

        def begun():
            if self.server.poll() is not None:
                raise RuntimeError(f"{block.where}: {command}: ended\n{self.said()}")
            return matches([*wanted, "…"], self.said())
        wait_for(begun, 60, f"{block.where}: {command} prints what it is to print")
        done = self.run("pgconductor ready --timeout 60s")
        assert done.returncode == 0, f"{block.where}: {command}: {done.stdout}\n{self.said()}"

    def said(self):
        with open(self.log, encoding="utf-8") as file:
            return file.read()

    def stop(self):
        if self.server:
            self.server.terminate()
            assert self.server.wait(30) == 0, self.said()
        self.server = None

    def do(self, block):
        if block.track not in (None, self.track):
            return
        if block.file:
            self.write(block.file, block.text)
        elif block.server:
            self.serve(block)
        elif block.language == "sql":
            done = self.run('psql -X -q -v ON_ERROR_STOP=1 -o /dev/null "$(pgconductor dev --url)"', block.text)
            assert done.returncode == 0, f"{block.where}: {done.stdout}"
        else:
            assert block.language == "console", f"{block.where}: what is to be done with this?"
            for command, wanted, status in commands_of(block):
                self.check(block, command, wanted, status)

    def read(self, document):
        """Do all of it. The server is stopped whatever comes of it."""
        try:
            for block in blocks_of(document):
                self.do(block)
            self.stop()
        except BaseException:
            if self.server:
                self.server.terminate()
                self.server.wait()
            raise


def _read(document, track, directory, **options):
    """In a process of its own: do what it says, there, and clean up if that has worked."""
    os.mkdir(directory)
    reader = Reader(directory, track, **options)
    try:
        reader.read(document)
    except Exception as error:
        raise AssertionError(f"{error}\n{reader.said() if reader.server else ''}") from error
    shutil.rmtree(directory)


class Readers:
    """Several at a time, as whoever reads mostly waits; each in a directory of its own below this one.

    In processes: who starts others with a hook of Python in between must have no threads. They end with the tests.
    """

    def __init__(self, directory, at_once=4):
        self.directory, self.path, self.begun = directory, programs_with_one_initdb(directory), {}
        self.pool = concurrent.futures.ProcessPoolExecutor(at_once, multiprocessing.get_context("fork"),
                                                           processes.die_with_parent(signal.SIGTERM))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown(cancel_futures=True)

    def begin(self, document, track, **options):
        self.begun[document, track] = self.pool.submit(_read, document, track, f"{self.directory}/{len(self.begun)}",
                                                       path=self.path, **options)

    def end(self, document, track):
        """Once it is read. What did not go as it says is raised."""
        self.begun[document, track].result()


def to_be_read(request, test):
    """What the tests of that name, of this file, that are to be run are given."""
    return [item.callspec.params for item in request.session.items if item.module is request.module and item.originalname == test
            and not any(mark.args[0] for mark in item.iter_markers("skipif"))]
