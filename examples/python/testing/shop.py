"""Tasks of a shop, to be tested: see test_shop.py."""

from __future__ import annotations

from dataclasses import dataclass

from pgconductor import AsyncContext, Context, EventTimeout, cron, define_event, serve, task


@dataclass
class Order:
    item: str
    number: int = 1


@dataclass
class Paid:
    item: str


paid = define_event("shop.paid", Paid)


def charge(order: Order) -> int:
    raise ConnectionError("the bank is not there for tests")


@task
def ship(order: Order) -> str:
    return f"{order.number} {order.item}"


@task
def sell(order: Order, ctx: Context) -> str:
    cost = ctx.step("charge", charge, order)
    ctx.sleep("pack", "2d")
    return f"{ctx.invoke(ship, order)} for {cost}"


@task(queue="reminders")
async def remind(order: Order, ctx: AsyncContext) -> str:
    try:
        got = await ctx.wait_for_event(event=paid, timeout="7d")
    except EventTimeout:
        return "never paid"
    return f"paid {got.item}"


@task
def pay(item: str, ctx: Context) -> None:
    ctx.step("say", ctx.emit, paid, Paid(item))
    print("thank you")


@task(backoff="1h")
def ask_the_bank(payload: None, ctx: Context) -> int:
    if ctx.attempt < 3:
        raise ConnectionError("not yet")
    return ctx.attempt


days: list[str] = []


@task(triggers=cron("0 9 * * *", name="daily"))
def count_the_day(payload: None, ctx: Context) -> None:
    days.append(f"{ctx.event_at:%d %B}")


if __name__ == "__main__":
    serve()
