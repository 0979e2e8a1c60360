"""The examples: what their READMEs say is done and compared, each in a directory of its own, with the files that are beside it.

How a README is written, support/documents.py says. Several are read at a time, as whoever reads one mostly waits.
examples/python/testing is run by test_python_pytest.py.
"""

import concurrent.futures
import glob
import multiprocessing
import os
import shutil
import signal

import pytest

from support import paths, processes
from support.documents import Reader, blocks_of, commands_of, programs_with_one_initdb
from support.node import needs_node, node_tree, run_node  # noqa: F401

EXAMPLES = f"{paths.SRC}/examples"
READMES = sorted(os.path.relpath(path, paths.SRC) for path in glob.glob(f"{EXAMPLES}/*/*/README.md"))
TESTED_ELSEWHERE = ["examples/python/testing/README.md"]
SHOWN = {
    "python": {"first_task", "basic", "steps", "children", "cron", "schedules", "queues", "events"},
    "typescript": {"first_task", "basic", "steps", "children", "cron", "schedules", "queues", "events"},
    "c": {"first_task", "steps", "triggers"},
    "shell": {"steps", "queues", "triggers"},
}
AT_ONCE = 4


def marks_of(readme):
    language, name = readme.split("/")[1:3]
    if language == "typescript":
        return [needs_node]
    missing = language == "c" and not glob.glob(f"{paths.BUILD}/{os.path.dirname(readme)}/*")
    return [pytest.mark.skipif(missing, reason=f"{name} was not built: needs jansson (scripts/deps)")]


def compile_typescript(directory, node_tree):  # noqa: F811
    """As examples/README.md says, but for npm install. The types of all examples hold, or tsc says which do not."""
    shutil.copytree(f"{EXAMPLES}/typescript", directory, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("node_modules", "*.js"))
    os.symlink(f"{node_tree}/node_modules", f"{directory}/node_modules")
    assert run_node("node_modules/.bin/tsc", cwd=directory, timeout=300).stdout == ""


def read(readme, directory, typescript, path):
    """Do what it says, in that directory, and clean up if that has worked."""
    language, name = readme.split("/")[1:3]
    os.mkdir(directory)
    beside = os.path.dirname(f"{paths.SRC}/{readme}")
    if language == "typescript":
        beside = f"{typescript}/{name}"
        for other in ("node_modules", "package.json"):
            os.symlink(f"{typescript}/{other}", f"{directory}/{other}")
    reader = Reader(directory, language, beside=beside, path=path)
    for program in glob.glob(f"{paths.BUILD}/{os.path.dirname(readme)}/*") if language == "c" else ():
        if os.access(program, os.X_OK) and os.path.isfile(program):
            os.symlink(program, f"{reader.project}/{os.path.basename(program)}")
    try:
        reader.read(readme)
    except Exception as error:
        raise AssertionError(f"{error}\n{reader.said() if reader.server else ''}") from error
    shutil.rmtree(directory)


def begin():
    """Of a process that reads: it ends with the tests, as what it has started ends with it."""
    processes.die_with_parent(signal.SIGTERM)()


@pytest.fixture(scope="module")
def readers(request, module_tmp):
    """What becomes of each README whose test is to be run."""
    wanted = [item.callspec.params["readme"] for item in request.session.items
              if item.originalname == "test_example" and not any(mark.args[0] for mark in item.iter_markers("skipif"))]
    typescript, path = f"{module_tmp}/typescript", programs_with_one_initdb(module_tmp)
    # Processes: one that starts others with a hook of Python in between must have no threads.
    with concurrent.futures.ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("fork"), begin) as pool:
        def read_those_of(compiled):
            return {readme: pool.submit(read, readme, f"{module_tmp}/{number}", typescript, path)
                    for number, readme in enumerate(wanted) if readme.startswith("examples/typescript/") == compiled}
        begun = read_those_of(compiled=False)
        if any(readme not in begun for readme in wanted):
            compile_typescript(typescript, request.getfixturevalue("node_tree"))
            begun |= read_those_of(compiled=True)
        yield begun
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("readme", [pytest.param(path, marks=marks_of(path)) for path in READMES if path not in TESTED_ELSEWHERE])
def test_example(readme, readers):
    first, second = [block for block in blocks_of(readme) if block.language == "console"][:2]
    # Two commands do, and whoever goes on reading may type more.
    assert first.server and len(commands_of(first)) == len(commands_of(second)[:1]) == 1
    readers[readme].result()


def test_no_example_is_forgotten():
    """Of what the first task and the seven demonstrations show. The table has them all."""
    with open(f"{EXAMPLES}/README.md", encoding="utf-8") as file:
        table = file.read()
    for language, names in SHOWN.items():
        found = {readme.split("/")[2] for readme in READMES if readme.startswith(f"examples/{language}/")}
        assert names <= found
        for name in found:
            assert f"]({language}/{name})" in table
