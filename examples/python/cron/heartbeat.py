"""A task that is started by a schedule, every three seconds, and by hand.

What is missed while the server is stopped is made up for as `catchup` says: not at all, unless it is given.
"""

from typing import TypedDict

from pgconductor import Context, cron, invocable, serve, task


class Beat(TypedDict):
    by: str


@task(triggers=[invocable(), cron("*/3 * * * * *", name="every-3-seconds", payload={"by": "the clock"})])
def heartbeat(beat: Beat, ctx: Context) -> str:
    when = f" of {ctx.event_at:%H:%M:%S}" if ctx.event_at is not None else ""
    line = f"beat{when} by {beat['by']}"
    print(line)
    return line


if __name__ == "__main__":
    serve()
