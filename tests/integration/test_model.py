"""The model of the engine, tests/model/engine.pml: its claims hold, and each protection that is taken out breaks one.

Every search is exhaustive within its bounds but the one that is marked so; PGC_LONG=1 selects wider ones. Histories of the
model end, so that what is finally true is asked at their ends; that they do end is a test of its own.
"""

import os
import re
import shutil
import subprocess

import pytest

from support import paths

MODEL = f"{paths.SRC}/tests/model/engine.pml"
CLAIMS = ("nothing_lost", "no_outcome_by_former_owner", "no_acknowledged_step_overwritten", "every_wake_counted_once",
          "each_finished_once")
MEGABYTES = 900
LONG_MEGABYTES = 6000

# What may happen, and how often. Together they are the bounds within which all claims were checked.
BOUNDS = {
    "cut and crash": {"CUTS": 1, "CRASHES": 1},
    "cut and failed attempt": {"CUTS": 1, "FAILS": 1},
    "cut and release": {"CUTS": 1, "GIVES": 1},
    "crash and release": {"CRASHES": 1, "GIVES": 1},
    "cut and cancel": {"CUTS": 1, "CANCELS": 1},
    "crash, cancel and retry": {"CRASHES": 1, "CANCELS": 1, "RETRIES": 1},
    "two cancels and retry": {"CANCELS": 2, "RETRIES": 1},
    "one of two, a cancel and the child again": {"ANY": 1, "CANCELS": 1, "AGAINS": 1},
}
LONG_BOUNDS = {
    "cut, cancel and retry": {"CUTS": 1, "CANCELS": 1, "RETRIES": 1},
    "cut, failed attempt and release": {"CUTS": 1, "FAILS": 1, "GIVES": 1},
    "two cuts and crash": {"CUTS": 2, "CRASHES": 1},
    "cut, two crashes": {"CUTS": 1, "CRASHES": 2},
    "one of two, a cut, a cancel and the child again": {"ANY": 1, "CUTS": 1, "CANCELS": 1, "AGAINS": 1},
}

# Which claim falls without which protection, and what has to happen for that.
MUTATIONS = [
    ("NO_RUN_PAIR", "each_finished_once", {"CUTS": 1, "CANCELS": 1, "RETRIES": 1}),
    ("NO_RUN_PAIR", "every_wake_counted_once", {"CUTS": 1, "CANCELS": 1, "RETRIES": 1}),
    ("NO_EPOCH", "no_outcome_by_former_owner", {"CUTS": 2}),
    ("NO_EPOCH", "no_acknowledged_step_overwritten", {"CUTS": 2}),
    ("NO_WAKES_LOG", "nothing_lost", {"CANCELS": 1}),
    ("NO_WAIT_PAIR", "every_wake_counted_once", {"CANCELS": 1, "RETRIES": 1}),
    ("NO_WAIT_PAIR", "every_wake_counted_once", {"ANY": 1, "CANCELS": 1, "AGAINS": 1}),
    ("NO_LATE_LIST", "nothing_lost", {}),
    ("NO_WRITER_LOCK", "no_outcome_by_former_owner", {"CUTS": 1}),
    ("NO_JOURNAL_RULE", "no_acknowledged_step_overwritten", {"CUTS": 1}),
    ("NO_NOTE_KEPT", "no_acknowledged_step_overwritten", {"CRASHES": 1, "GIVES": 1}),
    ("NO_NOTE_KEPT", "no_acknowledged_step_overwritten", {"CRASHES": 1, "CUTS": 1}),
]

reached = set()


@pytest.fixture(autouse=True)
def tools():
    for tool in ("spin", "gcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} (scripts/deps build test)")


def run(*command, cwd):
    return subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False).stdout


def search(directory, bounds, *macros, cc=("-O1", "-DSAFETY"), pan=(), megabytes=MEGABYTES):
    """Everything that can happen within the bounds. Returns what the search printed."""
    every = {name: 0 for name in ("CUTS", "CRASHES", "GIVES", "FAILS", "CANCELS", "RETRIES", "AGAINS", "ANY")} | bounds
    directory.mkdir(exist_ok=True)
    said = run("spin", *(f"-D{name}={n}" for name, n in every.items()), *(f"-D{name}" for name in macros), "-a", MODEL,
               cwd=directory)
    assert os.path.exists(f"{directory}/pan.c"), said
    # Reduction by partial order finds nothing to leave out here, and takes longer than it would save.
    said += run("gcc", "-w", "-DNOREDUCE", f"-DMEMLIM={megabytes}", *cc, "-o", "pan", "pan.c", cwd=directory)
    assert os.path.exists(f"{directory}/pan"), said
    return said + run("./pan", "-m1000", "-w22", *pan, cwd=directory)


def assert_complete(said):
    """Without errors, and nothing was left out."""
    assert re.search(r"errors: 0$", said, re.M), said
    assert "not completed" not in said and "max search depth" not in said and "aborted" not in said, said


def states(said):
    return int(float(re.search(r"([0-9.e+]+) states, stored", said)[1]))


@pytest.mark.parametrize("name", BOUNDS)
def test_claims_hold(tmp_path, name):
    said = search(tmp_path, BOUNDS[name], "REACH")
    assert_complete(said)
    assert states(said) > 10000
    reached.update(re.findall(r"^reached (\w+)$", said, re.M))
    # All that a process can do was done, but to end.
    if "CANCELS" in BOUNDS[name] and "CRASHES" in BOUNDS[name]:
        assert [line for line in said.splitlines() if re.search(r", state \d+, ", line) and "-end-" not in line] == []


def test_what_matters_is_reached(request):
    """After test_claims_hold: a claim means something only if what it speaks of happens."""
    if len([item for item in request.session.items if item.name.startswith("test_claims_hold")]) < len(BOUNDS):
        pytest.skip("needs all of test_claims_hold")
    with open(MODEL, encoding="utf-8") as file:
        text = file.read()
    named = set(re.findall(r"-> reach\((\w+)\)", text)) | set(re.findall(r"^\s+reach\((\w+)\)$", text, re.M))
    assert len(named) > 15
    assert reached == named


def test_every_history_ends(tmp_path):
    """No step of progress is marked, so any circle would be one without progress."""
    said = search(tmp_path, {"CUTS": 1, "FAILS": 1}, cc=("-O1", "-DNP"), pan=("-l",))
    assert "non-progress cycles" in said
    assert_complete(said)


def test_every_claim_can_fall():
    assert {claim for _, claim, _ in MUTATIONS} == set(CLAIMS)


@pytest.mark.parametrize("mutation, claim, bounds", MUTATIONS,
                         ids=[f"{m[0]}-{m[1]}-{'-'.join(m[2])}" for m in MUTATIONS])
def test_mutation_breaks_claim(tmp_path, mutation, claim, bounds):
    """The model without one protection has a history in which the claim is false; it is left in engine.pml.trail."""
    said = search(tmp_path, bounds, mutation, f"CLAIM={claim}", cc=("-O0", "-DSAFETY"))
    number = CLAIMS.index(claim) + 1
    assert f"assertion violated (({number}!={number})||" in said, said
    assert os.path.exists(f"{tmp_path}/engine.pml.trail")


@pytest.mark.skipif(os.environ.get("PGC_LONG", "") in ("", "0"), reason="long: make check-long")
@pytest.mark.parametrize("name", LONG_BOUNDS)
def test_claims_hold_longer(tmp_path, name):
    assert_complete(search(tmp_path, LONG_BOUNDS[name], cc=("-O2", "-DSAFETY"), megabytes=LONG_MEGABYTES))


@pytest.mark.skipif(os.environ.get("PGC_LONG", "") in ("", "0"), reason="long: make check-long")
def test_claims_hold_together(tmp_path):
    """These at once are too much to remember: by bitstate hashing, which may leave states out."""
    said = search(tmp_path, {"CUTS": 1, "CRASHES": 1, "CANCELS": 1, "RETRIES": 1},
                  cc=("-O2", "-DSAFETY", "-DBITSTATE"), pan=("-w33", "-k3"), megabytes=LONG_MEGABYTES)
    assert re.search(r"errors: 0$", said, re.M), said
    assert states(said) > 20_000_000
