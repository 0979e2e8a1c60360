"""A program of the Python library's tests: tasks that take and return models of pydantic."""

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pgconductor import Context, serve, task


class Address(BaseModel):
    model_config = ConfigDict(strict=True)
    zip_code: str = Field(pattern="^[0-9]{5}$", alias="zip")
    since: datetime


class Customer(BaseModel):
    name: Annotated[str, Field(min_length=1)]
    addresses: list[Address] = []
    referrer: "Customer | None" = None


@dataclass
class Visit:
    customer: Customer
    number: Annotated[int, Field(ge=1)]


@task
def move(visit: Visit) -> Customer:
    made = visit.customer.model_copy(update={"referrer": visit.customer})
    made.addresses.append(Address(zip="12345", since=datetime(2030, 1, 31, tzinfo=timezone.utc)))
    return made


@task
def relay(visit: Visit, ctx: Context) -> int:
    customer = ctx.invoke(move, visit)
    assert customer.referrer is not None
    return customer.addresses[-1].since.year + len(customer.referrer.addresses)


if __name__ == "__main__":
    serve()
