"""The examples: what their READMEs say is done and compared, each in a directory of its own, with the files that are beside it.

How a README is written, support/documents.py says. Several are read at a time. examples/python/testing is run by
test_python_pytest.py.
"""

import glob
import os
import shutil

import pytest

from support import paths
from support.documents import Readers, blocks_of, commands_of, to_be_read
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


def programs_of(readme):
    """What was built for it."""
    found = glob.glob(f"{paths.BUILD}/{os.path.dirname(readme)}/*")
    return {os.path.basename(path): path for path in found if os.path.isfile(path) and os.access(path, os.X_OK)}


def marks_of(readme):
    language = readme.split("/")[1]
    if language == "typescript":
        return [needs_node]
    return [pytest.mark.skipif(language == "c" and not programs_of(readme), reason="not built: needs jansson (scripts/deps)")]


def compile_typescript(directory, node_tree):  # noqa: F811
    """As examples/README.md says, but for npm install. The types of all examples hold, or tsc says which do not."""
    shutil.copytree(f"{EXAMPLES}/typescript", directory, copy_function=shutil.copyfile,
                    ignore=shutil.ignore_patterns("node_modules", "*.js"))
    # The sources may be read-only.
    for path, _, _ in os.walk(directory):
        os.chmod(path, 0o755)
    os.symlink(f"{node_tree}/node_modules", f"{directory}/node_modules")
    assert run_node("node_modules/.bin/tsc", cwd=directory, timeout=300).stdout == ""


@pytest.fixture(scope="module")
def readers(request, module_tmp):
    """Of all that are to be tested. Those of what has to be compiled begin when it is."""
    wanted = [params["readme"].split("/")[1:3] for params in to_be_read(request, "test_example")]
    typescript = f"{module_tmp}/typescript"
    with Readers(module_tmp) as begun:
        for language, name in wanted:
            readme = f"examples/{language}/{name}/README.md"
            if language != "typescript":
                begun.begin(readme, language, beside=f"{EXAMPLES}/{language}/{name}", links=programs_of(readme) if language == "c" else None)
        names = [name for language, name in wanted if language == "typescript"]
        if names:
            compile_typescript(typescript, request.getfixturevalue("node_tree"))
        for name in names:
            begun.begin(f"examples/typescript/{name}/README.md", "typescript", beside=f"{typescript}/{name}",
                        links={other: f"{typescript}/{other}" for other in ("node_modules", "package.json")})
        yield begun


@pytest.mark.parametrize("readme", [pytest.param(path, marks=marks_of(path)) for path in READMES if path not in TESTED_ELSEWHERE])
def test_example(readme, readers):
    first, second = [block for block in blocks_of(readme) if block.language == "console"][:2]
    # Two commands do, and whoever goes on reading may type more.
    assert first.server and len(commands_of(first)) == len(commands_of(second)[:1]) == 1
    readers.end(readme, readme.split("/")[1])


def test_no_example_is_forgotten():
    """Of what the first task and the seven demonstrations show. The table has them all."""
    with open(f"{EXAMPLES}/README.md", encoding="utf-8") as file:
        table = file.read()
    for language, names in SHOWN.items():
        found = {readme.split("/")[2] for readme in READMES if readme.startswith(f"examples/{language}/")}
        assert names <= found
        for name in found:
            assert f"]({language}/{name})" in table
