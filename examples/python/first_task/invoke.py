"""Invokes the task from a program of its own, and waits for what it returns. A type checker knows what both are."""

import sys

from greeting import Person, greet
from pgconductor import Client

with Client() as client:
    id = client.invoke(greet, Person(sys.argv[1] if len(sys.argv) > 1 else "World"))
    greeting = client.wait(id, timeout="1m", task=greet)
    print(f"execution {id}: {greeting.text}")
