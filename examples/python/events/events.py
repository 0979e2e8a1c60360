"""Tasks that know of each other's events, and not of each other."""

from typing import Any, TypedDict

from pgconductor import AsyncContext, Context, EventTimeout, define_event, event, serve, task


class Announcement(TypedDict):
    text: str


announcement = define_event("announcement", Announcement, schema={
    "type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}})


@task
async def listen(payload: None, ctx: AsyncContext) -> str:
    """Meanwhile it is a row in the database: any number may listen, for as long as you like."""
    try:
        heard = await ctx.wait_for_event("announcement", event=announcement, timeout="60s")
    except EventTimeout:
        return "heard nothing"
    return f"heard: {heard['text']}"


@task
def announce(text: str, ctx: Context) -> str:
    """In a step, so that it is said once."""
    return ctx.step("say", ctx.emit, announcement, {"text": text})


@task(triggers=event(announcement, when="length(payload->>'text') > 3"))
def applaud(heard: Announcement) -> str:
    """Started by each announcement that is worth it."""
    return f"clap for {heard['text']}"


@task
def welcome(payload: None, ctx: Context) -> Any:
    """Waits for the next row of a table."""
    row = ctx.wait_for_event("user", change=("users", "insert"), timeout="1h")["new"]
    return f"welcome, {row['email']}"


if __name__ == "__main__":
    serve()
