"""mypy on programs of the library for Python. What it knows of the library and of its own is kept in the build tree."""

import fcntl
import os
import shutil
import subprocess

import pytest

from .paths import BUILD, SRC
from .server import clean_environment

LIBRARY = f"{SRC}/proto/python"
CACHE = f"{BUILD}/tests/mypy"
needs_mypy = pytest.mark.skipif(shutil.which("mypy") is None, reason="needs mypy (scripts/deps)")


def mypy(*programs, cwd):
    """Run it; (file, line) of the errors as a set, and what it printed. Files as they are named here."""
    os.makedirs(CACHE, exist_ok=True)
    # One at a time writes there: the next one finds most of it done.
    with open(f"{CACHE}/.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(["mypy", "--strict", "--config-file", f"{LIBRARY}/pyproject.toml", "--cache-dir", CACHE, *programs],
                              cwd=cwd, env=clean_environment({"MYPYPATH": LIBRARY}), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode in (0, 1), done.stdout
    found = [line.split(":") for line in done.stdout.splitlines() if ": error:" in line]
    return {(file, int(line)) for file, line, *_ in found}, done.stdout
