"""A pytest plugin that writes automake's .trs file (PGC_TRS_FILE): one result line per test."""

import os

import pytest

_results = []


def _result(report):
    if report.when == "call":
        if hasattr(report, "wasxfail"):
            return "XFAIL" if report.skipped else "XPASS"
        return {"passed": "PASS", "failed": "FAIL", "skipped": "SKIP"}[report.outcome]
    # Outside the test's own body only trouble counts.
    if report.outcome == "failed":
        return "ERROR"
    if report.outcome == "skipped":
        return "SKIP"
    return None


@pytest.hookimpl
def pytest_runtest_logreport(report):
    result = _result(report)
    if result:
        _results.append((result, report.nodeid))


@pytest.hookimpl
def pytest_collectreport(report):
    if report.failed:
        _results.append(("ERROR", report.nodeid or "collection"))
    elif report.skipped:
        _results.append(("SKIP", report.nodeid or "collection"))


@pytest.hookimpl
def pytest_sessionfinish(session, exitstatus):
    bad = [r for r, _ in _results if r in ("FAIL", "ERROR", "XPASS")]
    overall = "ERROR" if "ERROR" in bad else "FAIL" if bad else "PASS"
    if not any(r == "PASS" or r == "XFAIL" for r, _ in _results) and not bad:
        overall = "SKIP"
    with open(os.environ["PGC_TRS_FILE"], "w", encoding="utf-8") as file:
        for result, name in _results:
            file.write(f":test-result: {result} {name.split('::', 1)[-1]}\n")
        file.write(f":recheck: {'yes' if bad else 'no'}\n:copy-in-global-log: {'yes' if bad else 'no'}\n")
        file.write(f":test-global-result: {overall}\n")
