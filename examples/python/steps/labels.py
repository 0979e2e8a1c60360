"""A task of three steps and a pause. It is run from its top each time; a step that was done is not done again.

Kill any process of this meanwhile, or all of them and start them again, and it goes on.
"""

from pgconductor import Context, NonRetryableError, serve, task


@task
def labels(fruits: list[str], ctx: Context) -> str:
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


if __name__ == "__main__":
    serve()
