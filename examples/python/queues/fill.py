"""Invokes each of the four tasks so many times, and says how many ran at the same time."""

import sys

from pgconductor import Client
from queues import Span, fast, normal, plain, slow

NUMBER = int(sys.argv[1]) if len(sys.argv) > 1 else 10


def at_once(spans: list[Span]) -> int:
    """The most that ran at one time."""
    return max(sum(other.begin <= span.begin < other.end for other in spans) for span in spans)


with Client() as client:
    ids = {task: client.invoke_batch(task, [{"payload": number} for number in range(NUMBER)]) for task in (plain, fast, normal, slow)}
    for task, made in ids.items():
        spans = [client.wait(id, timeout="5m", task=task) for id in made]
        print(f"{task.home}: {len(spans)} done, {at_once(spans)} at a time")
