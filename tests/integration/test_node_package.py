"""The Node library as a package: its own tests, its types, and what npm packs."""

import json
import os
import re

import pytest

from support import paths
from support.engine import value
from support.node import PACKAGE, needs_node, node_tree, run_node, url_of  # noqa: F401

pytestmark = needs_node


@pytest.mark.parametrize("name", sorted(name for name in os.listdir(f"{PACKAGE}/test") if name.endswith(".test.js")))
def test_unit(node_tree, name):
    done = run_node("node", "--test", "--test-reporter=tap", f"test/{name}", env={"PGC_SRCDIR": paths.SRC}, check=False)
    assert done.returncode == 0, "\n".join(re.findall(r"^ *not ok .*(?:\n(?! *(?:not )?ok ).*)*", done.stdout, re.M)) or done.stdout
    assert int(re.search(r"^# pass (\d+)", done.stdout, re.M)[1]) > 5


def test_types(node_tree):
    """The sources hold to index.d.ts, which accepts and refuses what types/check.ts says."""
    run_node("node_modules/.bin/tsc")


def test_what_is_packed_can_be_installed_and_used(node_tree, dsn, db, short_tmp):
    packed = run_node("npm", "pack", "--json", "--loglevel=error", "--pack-destination", short_tmp)
    package, = json.loads(packed.stdout)
    names = {file["path"] for file in package["files"]}
    sources = {f"src/{name}" for name in os.listdir(f"{PACKAGE}/src")}
    assert names == sources | {"package.json", "README.md", "index.d.ts", "examples/durable.mjs",
                               "examples/events.ts", "examples/schedules.ts", "examples/tasks.mjs", "examples/tasks.ts"}
    run_node("npm", "install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", short_tmp,
             f"{short_tmp}/{package['filename']}", cwd=short_tmp)
    assert sorted(name for name in os.listdir(f"{short_tmp}/node_modules") if name[0] != ".") == ["pgconductor", "postgres"]
    db.execute("select pgconductor.declare_task('greet')")
    with open(f"{short_tmp}/use.mjs", "w", encoding="ascii") as file:
        file.write('import { Conductor } from "pgconductor";\n'
                   'console.log(await Conductor.create().invoke({ name: "greet" }, { name: "Ann" }));\n')
    done = run_node("node", "use.mjs", cwd=short_tmp, env={"DATABASE_URL": url_of(dsn)})
    assert value(db, "select payload ->> 'name' from pgconductor.executions where id = %s", int(done.stdout)) == "Ann"
