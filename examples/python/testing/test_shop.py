"""Tests of tasks, each with a server and a database of its own."""

from datetime import datetime, timezone

import psycopg
import pytest
import shop
from pgconductor.pytest import Conductor
from shop import Order


def test_an_order_takes_two_days(pgconductor: Conductor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "charge", lambda order: 7)
    pgconductor.serve(shop.sell, shop.ship)
    id = pgconductor.invoke(shop.sell, Order("apple", 2))
    pgconductor.drain()
    found = pgconductor.result(id)
    assert found is not None and found.state == "suspended"
    pgconductor.advance("2d")
    assert pgconductor.wait(id, 10, task=shop.sell) == "2 apple for 7"


def test_reminders(pgconductor: Conductor, capsys: pytest.CaptureFixture[str]) -> None:
    pgconductor.serve(shop.remind, shop.pay)
    ids = [pgconductor.invoke(shop.remind, Order("pear")) for _ in range(3)]
    pgconductor.drain()
    pgconductor.run(shop.pay, "pear")
    assert capsys.readouterr().out == "thank you\n"
    pgconductor.drain()
    assert [pgconductor.wait(id) for id in ids] == ["paid pear"] * 3


def test_what_takes_long(pgconductor: Conductor) -> None:
    """Waits of hours and days between attempts, and for what never comes."""
    pgconductor.serve(shop.ask_the_bank, shop.remind)
    ask, remind = pgconductor.invoke(shop.ask_the_bank), pgconductor.invoke(shop.remind, Order("pear"))
    before = pgconductor.now()
    pgconductor.drain(skip_waits=True)
    assert pgconductor.wait(ask, task=shop.ask_the_bank) == 3
    assert pgconductor.wait(remind, task=shop.remind) == "never paid"
    assert (pgconductor.now() - before).days == 7


def test_each_day_at_nine(pgconductor: Conductor) -> None:
    shop.days.clear()
    pgconductor.set_now(datetime(2030, 1, 31, 8, 30, tzinfo=timezone.utc))
    pgconductor.serve(shop.count_the_day)
    for day in (31, 1):
        pgconductor.set_now(datetime(2030, 1 if day == 31 else 2, day, 9, tzinfo=timezone.utc))
        pgconductor.drain()
    assert shop.days == ["31 January", "01 February"]


def test_the_tables_are_there(pgconductor: Conductor) -> None:
    with psycopg.connect(pgconductor.url) as conn:
        assert conn.execute("select * from items").fetchall() == []
