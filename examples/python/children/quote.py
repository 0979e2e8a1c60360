"""A task that has another one do a part of it, in a process of its own, and goes on with what that returns."""

from dataclasses import dataclass

from pgconductor import ChildFailed, Context, NonRetryableError, serve, task


@dataclass
class Goods:
    price: int


@task
def double(goods: Goods) -> int:
    if goods.price < 0:
        raise NonRetryableError("nobody is paid for taking it away")
    return 2 * goods.price


@task
def quote(goods: Goods, ctx: Context) -> int | None:
    try:
        return ctx.invoke(double, goods, timeout="1m") + 10
    except ChildFailed as error:
        ctx.logger.warning("no price", why=error.message)
        return None


if __name__ == "__main__":
    serve()
