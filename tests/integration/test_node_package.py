"""The Node library as a package: its own tests, its types, and what npm packs."""

import json
import os
import re
import shutil
import subprocess

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


def test_what_is_packed_can_be_installed_and_used(node_tree, dsn, db, empty_dsn, connect, short_tmp):
    shutil.copytree(PACKAGE, f"{short_tmp}/sources", copy_function=shutil.copyfile)
    packed = run_node("npm", "pack", "--json", "--loglevel=error", "--pack-destination", short_tmp, cwd=f"{short_tmp}/sources",
                      env={"PGCONDUCTOR": paths.PGCONDUCTOR})
    package, = json.loads(packed.stdout[packed.stdout.index("["):])
    names = {file["path"] for file in package["files"]}
    sources = {f"src/{name}" for name in os.listdir(f"{PACKAGE}/src")}
    assert names == sources | {"package.json", "README.md", "index.d.ts", "schema.sql", "examples/tasks.mjs"}
    run_node("npm", "install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", short_tmp,
             f"{short_tmp}/{package['filename']}", cwd=short_tmp)
    assert sorted(name for name in os.listdir(f"{short_tmp}/node_modules") if name[0] != ".") == ["pgconductor", "postgres"]
    db.execute("select pgconductor.declare_task('greet')")
    with open(f"{short_tmp}/use.mjs", "w", encoding="ascii") as file:
        file.write('import { Conductor } from "pgconductor";\n'
                   'console.log(await Conductor.create().invoke({ name: "greet" }, { name: "Ann" }));\n')
    done = run_node("node", "use.mjs", cwd=short_tmp, env={"DATABASE_URL": url_of(dsn)})
    assert value(db, "select payload ->> 'name' from pgconductor.executions where id = %s", int(done.stdout)) == "Ann"
    # The schema comes with it: nothing else of pgconductor is needed.
    with open(f"{short_tmp}/install.mjs", "w", encoding="ascii") as file:
        file.write('import { Conductor } from "pgconductor";\n'
                   'const conductor = Conductor.create({ tasks: [{ name: "greet" }] });\n'
                   'await conductor.ensureInstalled();\nawait conductor.ensureInstalled();\n'
                   'console.log(await conductor.invoke({ name: "greet" }, { name: "Ann" }));\n')
    done = run_node("node", "install.mjs", cwd=short_tmp, env={"DATABASE_URL": url_of(empty_dsn), "PGCONDUCTOR": "/nonexistent"})
    assert done.stdout == "1\n"
    assert value(connect(dsn=empty_dsn), "select count(*) from pgconductor.tasks") == 1
    status = subprocess.run([paths.PGCONDUCTOR, "migrate", "--status", "--db", empty_dsn], stdout=subprocess.PIPE, text=True, check=True)
    assert re.fullmatch(r"version (\d+) is installed; this program has version \1\n", status.stdout)
