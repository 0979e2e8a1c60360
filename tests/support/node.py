"""Node for the tests: the library with what it depends on, once for a build tree, outside of the sources.

    from support.node import needs_node, node_tree, node_program  # noqa: F401

    pytestmark = needs_node
    def test_x(node_program, server):
        server(cmd=node_program("…createTask…"))
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess

import pytest
from psycopg.conninfo import conninfo_to_dict

from .paths import BUILD, SRC
from .server import clean_environment

PACKAGE = f"{SRC}/proto/node"
TREE = f"{BUILD}/tests/node"
OLDEST = 18
# Where the machine that runs the tests has no way to the registry, npm may have the packages in its cache.
NPM_CI = ("ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
# What every program of the tests begins with.
HEAD = """
import { Conductor, Orchestrator, NonRetryableError, RetryAfter, RawJSON } from "pgconductor";
"""


def _why_not():
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"{program} is not installed (scripts/deps test)"
    version = subprocess.run(["node", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    major = re.match(r"v(\d+)\.", version)
    if major is None or int(major[1]) < OLDEST:
        return f"node is {version.strip()}; {OLDEST} is needed"
    return None


_reason = _why_not()
needs_node = pytest.mark.skipif(_reason is not None, reason=str(_reason))


def run_node(*argv, cwd=TREE, env=None, input=None, timeout=120, check=True):
    """Run node, npm or a program of node_modules/.bin to its end; its output, with stderr, is .stdout."""
    done = subprocess.run(argv, cwd=cwd, env=clean_environment(env), input=input, text=True, timeout=timeout,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if check:
        assert done.returncode == 0, f"{' '.join(argv)} exited with {done.returncode}:\n{done.stdout[-10000:]}"
    return done


def _copy_sources():
    """The package as it is now: as the project, and as what users get, in node_modules."""
    for name in os.listdir(PACKAGE):
        source, target = f"{PACKAGE}/{name}", f"{TREE}/{name}"
        if os.path.isdir(source):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, target)
    users = f"{TREE}/node_modules/pgconductor"
    shutil.rmtree(users, ignore_errors=True)
    os.makedirs(users)
    for name in ("src", "index.d.ts", "package.json"):
        os.symlink(f"../../{name}", f"{users}/{name}")


def _digest(*paths):
    total = hashlib.sha256()
    for path in paths:
        for directory, names, files in os.walk(path) if os.path.isdir(path) else [(os.path.dirname(path), [], [path])]:
            names.sort()
            for name in sorted(files):
                file = os.path.join(directory, name)
                total.update(os.path.relpath(file, PACKAGE).encode())
                with open(file, "rb") as f:
                    total.update(f.read())
    return total.hexdigest()


def _up_to_date(stamp, digest, make):
    path = f"{TREE}/{stamp}"
    if os.path.exists(path):
        with open(path, encoding="ascii") as file:
            if file.read() == digest:
                return
        os.unlink(path)
    make()
    with open(path, "w", encoding="ascii") as file:
        file.write(digest)


@pytest.fixture(scope="session")
def node_tree():
    """A directory with the package, its tests, and node_modules. Test files may run beside each other."""
    os.makedirs(TREE, exist_ok=True)
    with open(f"{TREE}/.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def install():
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(f"{PACKAGE}/{name}", f"{TREE}/{name}")
            run_node("npm", *NPM_CI, timeout=300)
        _up_to_date(".installed", _digest(f"{PACKAGE}/package-lock.json"), install)
        _up_to_date(".copied", _digest(PACKAGE) + str(os.path.getmtime(f"{TREE}/.installed")), _copy_sources)
    return TREE


@pytest.fixture
def node_program(node_tree, short_tmp):
    """node_program(text, name="app.mjs"): a program that can import pgconductor; returns its command."""
    def write(text, name="app.mjs"):
        modules = f"{short_tmp}/node_modules"
        if not os.path.lexists(modules):
            os.symlink(f"{node_tree}/node_modules", modules)
        path = f"{short_tmp}/{name}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(HEAD + text)
        return ["node", path]
    return write


def url_of(dsn):
    """The URL of a database of the tests, whose DSN is of key=value."""
    parts = conninfo_to_dict(dsn)
    return "postgresql://{user}@/{dbname}?host={host}&port={port}".format(**parts)
