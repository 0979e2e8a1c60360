"""Where the sources and what was built from them are.

The automake driver sets PGC_SRCDIR and PGC_BUILDDIR; by hand, the build tree is the source tree, build/test or
build/release.
"""

import os
import re

SRC = os.path.abspath(os.environ.get("PGC_SRCDIR") or os.path.join(os.path.dirname(__file__), "..", ".."))


def _builddir():
    named = os.environ.get("PGC_BUILDDIR")
    if named:
        return os.path.abspath(named)
    for directory in (SRC, f"{SRC}/build/test", f"{SRC}/build/release"):
        if os.path.exists(f"{directory}/config.status"):
            return directory
    return SRC


BUILD = _builddir()
PGCONDUCTOR = f"{BUILD}/pgconductor"


def built(path):
    """A file of the build tree, else the same one of the source tree."""
    for directory in (BUILD, SRC):
        if os.path.exists(f"{directory}/{path}"):
            return f"{directory}/{path}"
    raise FileNotFoundError(f"{path}: neither in {BUILD} nor in {SRC}; run make first")


def message_numbers():
    """Name and number of every message, from the one list of them."""
    numbers = {}
    with open(f"{SRC}/proto/messages.def", encoding="utf-8") as file:
        for line in file:
            found = re.match(r"message\s+(\w+)\s+(\d+)", line)
            if found:
                numbers[found[1]] = int(found[2])
    return numbers
