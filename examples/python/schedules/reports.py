"""A schedule that is made and removed while all runs.

It stays when the program is deployed anew, and when it is stopped. From anywhere else: `pgconductor schedule`, `schedule()` in SQL,
or Client.schedule.
"""

from typing import NotRequired, TypedDict

from pgconductor import Context, serve, task


class Wish(TypedDict):
    do: str
    every: NotRequired[int]


class Source(TypedDict):
    source: str


@task
def report(payload: Source, ctx: Context) -> str:
    print(f"report of {ctx.event}, due at {ctx.event_at}")
    return f"report for {payload['source']}"


@task
def reports(wish: Wish, ctx: Context) -> str | bool | None:
    """Scheduling what is scheduled changes nothing, so it may be done in each attempt."""
    if wish["do"] == "unschedule":
        return ctx.unschedule(report, "reports")
    due = ctx.schedule(report, "reports", f"*/{wish.get('every', 3)} * * * * *", {"source": "admin"}, overlap="skip")
    return due.isoformat() if due is not None else None


if __name__ == "__main__":
    serve()
