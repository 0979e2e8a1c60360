"""Tasks that last: kill any process of this meanwhile, or all of them and start them again, and they go on.

    python3 examples/durable.py          (or: pgconductor run -- python3 examples/durable.py)
    pgconductor invoke labels '["apple", "banana", "cherry"]' --wait
    pgconductor invoke quote '{"price": 5}' --wait
    pgconductor show ID                  what has been saved of one
"""

from typing import TypedDict

from pgconductor import ChildFailed, Context, NonRetryableError, serve, task


class Goods(TypedDict):
    price: int


@task
def labels(fruits: list[str], ctx: Context) -> str:
    """Three steps and a pause. It is run from its top each time; a step that was done is not done again."""
    def check() -> int:
        if not all(fruit.isalpha() for fruit in fruits):
            raise NonRetryableError(f"not the names of fruits: {fruits}")
        return len(fruits)

    def store(texts: list[str]) -> str:
        ctx.logger.info("stored", labels=texts)
        return f"{number} labels: {', '.join(texts)}"

    number = ctx.step("check", check)
    texts = ctx.step("print", lambda: [fruit.upper() for fruit in fruits])
    ctx.sleep("dry", "1s")  # a row in the database meanwhile, and nothing else
    return ctx.step("store", store, texts)


@task
def double(goods: Goods) -> int:
    if goods["price"] < 0:
        raise NonRetryableError("nobody is paid for taking it away")
    return 2 * goods["price"]


@task
def quote(goods: Goods, ctx: Context) -> int | None:
    """Has another task do a part of it, in a process of its own, and goes on with what that returns."""
    try:
        return ctx.invoke(double, goods, timeout="1m") + 10
    except ChildFailed as error:
        ctx.logger.warning("no price", why=error.message)
        return None


if __name__ == "__main__":
    serve()
