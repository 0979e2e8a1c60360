"""The examples: what their READMEs say is done and compared, each in a directory of its own, with the files that are beside it.

How a README is written, support/documents.py says. examples/python/testing is run by test_python_pytest.py.
"""

import glob
import os

import pytest

from support import paths
from support.documents import Reader, commands_of, blocks_of

READMES = sorted(os.path.relpath(path, paths.SRC) for path in glob.glob(f"{paths.SRC}/examples/*/*/README.md"))
TESTED_ELSEWHERE = ["examples/python/testing/README.md"]


@pytest.mark.parametrize("readme", [path for path in READMES if path not in TESTED_ELSEWHERE])
def test_example(readme, short_tmp):
    first, second = [block for block in blocks_of(readme) if block.language == "console"][:2]
    # Two commands do, and whoever goes on reading may type more.
    assert first.server and len(commands_of(first)) == len(commands_of(second)[:1]) == 1
    Reader(short_tmp, readme.split("/")[1], beside=os.path.dirname(f"{paths.SRC}/{readme}")).read(readme)


def test_no_example_is_forgotten():
    """Of what the first task and the seven demonstrations show."""
    shown = {"first_task", "basic", "steps", "children", "cron", "schedules", "queues", "events"}
    assert shown <= {readme.split("/")[2] for readme in READMES if readme.startswith("examples/python/")}
