"""The task @TASK@.

    pgconductor dev --watch -- python3 @FILE@
    pgconductor invoke @TASK@ '{"name": "Ann"}' --wait
"""

from typing import TypedDict

from pgconductor import Context, serve, task


class Payload(TypedDict):
    name: str


@task("@TASK@")
def run(payload: Payload, ctx: Context) -> str:
    # What is done in a step is not done again when the task is tried again.
    greeting = ctx.step("greet", lambda: f"Hello, {payload['name']}!")
    ctx.logger.info("greeted", name=payload["name"])
    return greeting


if __name__ == "__main__":
    serve()
