"""What the database of each test is to have besides."""

from collections.abc import Callable

import psycopg
import pytest


@pytest.fixture(scope="session")
def pgconductor_prepare() -> Callable[[str], None]:
    def prepare(url: str) -> None:
        with psycopg.connect(url) as conn:
            conn.execute("create table items (name text)")
    return prepare
