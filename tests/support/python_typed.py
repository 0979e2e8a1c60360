"""A program of the Python library's tests: tasks whose annotations say what they take and return."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import NamedTuple, NotRequired, TypedDict
from uuid import UUID

from pgconductor import AsyncContext, Context, cron, define_event, event, invocable, serve, task


class Size(Enum):
    SMALL = "S"
    LARGE = "L"


class Place(NamedTuple):
    lat: float
    lon: float


@dataclass(frozen=True)
class Line:
    sku: str
    number: int = 1
    size: Size = Size.SMALL


@dataclass
class Order:
    id: UUID
    lines: list[Line]
    due: datetime | None = None
    to: Place | None = None
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.lines:
            raise ValueError("an order of nothing")


class Bill(TypedDict):
    order: UUID
    total: Decimal
    day: NotRequired[date]


class Tree(TypedDict):
    name: str
    children: list[Tree]


order_paid = define_event("order.paid", Bill)


@task
def bill(order: Order) -> Bill:
    total = sum((Decimal("1.10") * line.number * (2 if line.size is Size.LARGE else 1) for line in order.lines), Decimal())
    made = Bill(order=order.id, total=total)
    if order.due is not None:
        made["day"] = (order.due + timedelta(days=1)).date()
    return made


@task
def first_line(order: Order) -> Line:
    return order.lines[0]


@task
def wrong(line: Line) -> list[int]:
    made: list[int] = [line.sku]  # type: ignore[list-item]
    return made


@task
def depth(tree: Tree) -> int:
    return 1 + max((depth.fn(child) for child in tree["children"]), default=0)


def paid_by(line: Line) -> tuple[Line, date]:
    return line, date(2030, 1, 31)


@task
def lasting(order: Order, ctx: Context) -> list[str]:
    """Whatever is saved, and comes back, is of its type: in the first run, and after the wait."""
    line, day = ctx.step("pay", paid_by, order.lines[0])
    ctx.sleep("nap", 0.01)
    child = ctx.invoke(first_line, order)
    made = ctx.invoke(bill, order)
    paid = ctx.wait_for_event("paid", event=order_paid, since="start")
    return [line.sku, f"{day:%d %B}", child.size.name, str(made["total"].quantize(Decimal("0.1"))), str(paid["total"] + 1)]


@task
async def lasting_async(order: Order, ctx: AsyncContext) -> list[str]:
    line, day = await ctx.step("pay", paid_by, order.lines[0])
    await ctx.sleep("nap", 0.01)
    child = await ctx.invoke(first_line, order)
    return [line.sku, f"{day:%d %B}", child.size.name]


@task
def pay(order: UUID, ctx: Context) -> str:
    return ctx.step("say", ctx.emit, order_paid, Bill(order=order, total=Decimal("4.40")))


@task(triggers=event(order_paid))
def thank(paid: Bill) -> str:
    return str(paid["total"] * 2)


@task(triggers=[invocable(), cron("* * * * * *", name="tick")])
def ticking(line: Line) -> str:
    """Its schedule has no payload."""
    return line.sku if line else "nothing"  # type: ignore[truthy-bool]


if __name__ == "__main__":
    serve()
