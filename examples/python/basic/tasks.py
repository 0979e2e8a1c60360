"""Tasks: sync and async, ones that fail, that say how far they are, that stop when they are cancelled."""

import asyncio
import time
import urllib.error
import urllib.request
from typing import TypedDict

from pgconductor import Context, NonRetryableError, RetryAfter, serve, task


class Name(TypedDict):
    name: str


class Range(TypedDict):
    to: int


@task
def greet(payload: Name) -> dict[str, str]:
    return {"greeting": f"Hello, {payload['name']}!"}


@task(max_attempts=5, backoff=["1s", "10s", "1m"], timeout="30s")
def fetch(url: str) -> int:
    """The length of a page. What is not there will not come; what is busy says when to come again."""
    try:
        with urllib.request.urlopen(url) as page:
            return len(page.read())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise NonRetryableError(f"{url} does not exist") from error
        if error.code in (429, 503):
            raise RetryAfter(error.headers.get("Retry-After", "60") + "s", f"{url} is busy") from error
        raise


@task(queue="crawler", timeout="5m")
async def crawl(urls: list[str]) -> dict[str, int]:
    """Async functions run beside each other, in one process."""
    lengths = await asyncio.gather(*(asyncio.to_thread(fetch, url) for url in urls))
    return dict(zip(urls, lengths))


@task
def count(payload: Range, ctx: Context) -> int:
    """Takes its time, says how far it is, and stops when it is cancelled."""
    for number in range(1, payload["to"] + 1):
        ctx.check_cancelled()
        ctx.logger.info("counting", number=number, attempt=ctx.attempt)
        time.sleep(1)
    return payload["to"]


if __name__ == "__main__":
    serve()
