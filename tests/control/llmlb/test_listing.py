"""Whole lists, page by page."""

from dataclasses import dataclass
from typing import Any

import pytest

from mrproxy.control.llmlb.listing import read_all
from mrproxy.storage.people.values import Page


@dataclass
class FakeCall:
    """Has a database of numbers, or none."""

    plane: Any

    async def read(self, function: Any, *args: Any) -> Any:
        return await function(None, *args)


@dataclass
class FakePlane:
    store: object


async def numbers(connection: None, wanted: int, behind: int | None, limit: int) -> Page[int]:
    start = 0 if behind is None else behind
    return Page(range(start, min(start + 3, wanted)), start + 3 if start + 3 < wanted else None)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 10])
async def test_all_pages_are_one_list(count: int) -> None:
    call: Any = FakeCall(FakePlane(object()))
    assert await read_all(call, numbers, count) == list(range(count))


async def test_without_a_database_there_is_nothing() -> None:
    call: Any = FakeCall(FakePlane(None))
    assert await read_all(call, numbers, 3) == []
