"""The first task: what it takes is a dataclass, and so is what it returns."""

from dataclasses import dataclass

from pgconductor import Context, serve, task


@dataclass
class Person:
    name: str


@dataclass
class Greeting:
    text: str


@task
def greet(person: Person, ctx: Context) -> Greeting:
    ctx.logger.info(f"Hello, {person.name}!")
    return Greeting(f"Hello, {person.name}!")


if __name__ == "__main__":
    serve()
