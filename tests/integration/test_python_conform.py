"""The Python library keeps the protocol: `pgconductor conform` is satisfied with functions of each kind."""

import sys

import pytest

from support import paths
from support.server import run_cli

PROGRAM = f"{paths.SRC}/tests/support/conform_python.py"


@pytest.mark.parametrize("kind, skipped", [
    # What is judged only if a handler runs, or takes, several at once.
    ("sync", {"prefetch-order", "several-at-once", "slow-reader-many", "cancel-one"}),
    ("threads", {"prefetch-order"}),
    ("async", {"prefetch-order"}),
])
def test_conform(kind, skipped):
    done = run_cli("conform", "--", sys.executable, PROGRAM, kind, timeout=120,
                   env={"PYTHONPATH": f"{paths.SRC}/proto/python", "PYTHONUNBUFFERED": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line.split()[1].rstrip(":") for line in done.stdout.splitlines() if line.startswith("skip ")} == skipped
