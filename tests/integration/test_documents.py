"""Every code block of README.md, of the tutorial, of durable.md, triggers.md and flow.md is run, in the order in which a reader would.

A block's first word is its language. Behind it stand the name of the file it is (then it is written), or for a console
whether it is the terminal of the server; and the track that it belongs to, where the language does not say so:

    ```python tasks.py            a file of the track python
    ```console server shell       the server's terminal, in the track shell
    ```console                    what is typed, in every track: "$ command", and what it prints
    ```console soon               likewise, and repeated until it prints that
    ```sql                        run by psql on the server's database

A document is run once for each track that it has, in a directory of its own. What is printed is compared: … stands for
anything, a line of its own for any lines, and blanks do not matter; "[exit N]" at the end for the exit status, 0 if it is left out.

`npx tsc … FILE` is run once for the files of all documents together, as most of what it does is the same for each.
"""

import os
import re
import shutil
import subprocess

import pytest

from support import paths, processes
from support.node import needs_node, node_tree  # noqa: F401
from support.server import clean_environment
from support.wait import wait_for

TRACKS = {"python": "python", "ts": "typescript", "sh": "shell"}
DOCUMENTS = ["README.md", "docs/tutorial.md", "docs/durable.md", "docs/triggers.md", "docs/flow.md"]
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


class Compiled:
    """The TypeScript of all documents, below directory, with what tsc makes of it."""

    def __init__(self, directory, node_tree):
        self.directory = directory
        os.symlink(f"{node_tree}/node_modules", f"{directory}/node_modules")
        with open(f"{directory}/package.json", "w", encoding="ascii") as file:
            file.write('{"type": "module"}\n')
        compilers, files = set(), []
        for block in (block for document in DOCUMENTS for block in blocks_of(document) if block.track == "typescript"):
            if block.file:
                self.write(block)
            else:
                found = [match for command, _, _ in commands_of(block) if (match := COMPILE.fullmatch(command))]
                compilers |= {match[1] for match in found}
                files += [f"{self.place(block)}/{match[2]}.ts" for match in found]
        compiler, = compilers
        done = subprocess.run(["bash", "-c", f"{compiler} {' '.join(files)}"], cwd=directory, text=True, timeout=300,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=clean_environment({"npm_config_update_notifier": "false"}))
        assert done.returncode == 0, done.stdout

    def place(self, block):
        """Files of one document may have the name of another one's."""
        return f"{self.directory}/{os.path.basename(block.document)}"

    def write(self, block):
        os.makedirs(self.place(block), exist_ok=True)
        with open(f"{self.place(block)}/{block.file}", "x", encoding="utf-8") as file:
            file.write(block.text)

    def copy(self, block, name, project):
        shutil.copy(f"{self.place(block)}/{name}.js", f"{project}/{name}.js")


@pytest.fixture(scope="module")
def compiled(module_tmp, node_tree):  # noqa: F811
    return Compiled(module_tmp, node_tree)


class Reader:
    """One who does what the document says. compiled: for the track typescript."""

    def __init__(self, directory, track, compiled):
        self.directory, self.track, self.compiled = directory, track, compiled
        os.mkdir(f"{directory}/bin")
        os.symlink(paths.PGCONDUCTOR, f"{directory}/bin/pgconductor")
        # The one that Debian's packages are for.
        os.symlink("/usr/bin/python3", f"{directory}/bin/python3")
        self.project = f"{directory}/project"
        os.mkdir(self.project)
        os.chmod(directory, 0o755)
        if compiled:
            os.symlink(f"{compiled.directory}/node_modules", f"{self.project}/node_modules")
            self.write("package.json", '{"type": "module"}\n')
        self.env = clean_environment({"PATH": f"{directory}/bin:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1",
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


@pytest.mark.parametrize("document, track", [pytest.param(document, track, marks=needs_node if track == "typescript" else ())
                                             for document in DOCUMENTS for track in tracks_of(document)])
def test_document(document, track, short_tmp, request):
    reader = Reader(short_tmp, track, request.getfixturevalue("compiled") if track == "typescript" else None)
    try:
        for block in blocks_of(document):
            reader.do(block)
        reader.stop()
    except BaseException:
        if reader.server:
            print(reader.said())
            reader.server.terminate()
            reader.server.wait()
        raise
