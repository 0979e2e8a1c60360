"""Waiting for a condition with a deadline: no test sleeps for a fixed time."""

import time


class Timeout(AssertionError):
    """The condition did not come true in time."""


def wait_for(condition, timeout=10.0, what=None, poll=0.02):
    """Call condition() until it returns something true, and return that.

    An AssertionError or LookupError raised by the condition counts as "not yet"; the last one is shown when time is up.
    """
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = None
        except (AssertionError, LookupError) as error:
            last = error
        if time.monotonic() >= deadline:
            name = what or getattr(condition, "__doc__", None) or getattr(condition, "__name__", "condition")
            because = f": {last}" if last is not None else ""
            raise Timeout(f"not within {timeout:g} s: {name}{because}")
        time.sleep(poll)
