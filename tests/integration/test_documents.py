"""Every code block of README.md, of the tutorial, of durable.md, triggers.md and flow.md is run, in the order in which a reader would.

How it is written, support/documents.py says. A document is run once for each track that it has, in a directory of its own.

`npx tsc … FILE` is run once for the files of all documents together, as most of what it does is the same for each; and several
documents are read at a time.
"""

import os
import shutil
import subprocess

import pytest

from support.documents import COMPILE, Readers, blocks_of, commands_of, to_be_read, tracks_of
from support.node import needs_node, node_tree  # noqa: F401
from support.server import clean_environment

DOCUMENTS = ["README.md", "docs/tutorial.md", "docs/durable.md", "docs/triggers.md", "docs/flow.md"]


class Compiled:
    """The TypeScript of all documents, below directory, with what tsc makes of it."""

    def __init__(self, directory, node_tree):
        self.directory = directory
        os.mkdir(directory)
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
def readers(request, module_tmp):
    """Of all documents and tracks that are to be tested. Those that need something compiled begin when it is."""
    wanted = [(params["document"], params["track"]) for params in to_be_read(request, "test_document")]
    with Readers(module_tmp) as begun:
        for document, track in wanted:
            if track != "typescript":
                begun.begin(document, track)
        if any(track == "typescript" for _, track in wanted):
            compiled = Compiled(f"{module_tmp}/typescript", request.getfixturevalue("node_tree"))
        for document, track in wanted:
            if track == "typescript":
                begun.begin(document, track, compiled=compiled)
        yield begun


@pytest.mark.parametrize("document, track", [pytest.param(document, track, marks=needs_node if track == "typescript" else ())
                                             for document in DOCUMENTS for track in tracks_of(document)])
def test_document(document, track, readers):
    readers.end(document, track)
