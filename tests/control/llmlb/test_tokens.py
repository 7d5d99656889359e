"""Tokens in all, by day and by month."""

import pytest

from mrproxy.control.llmlb.tokens import by_month, first_month
from mrproxy.storage.usage_reports import UsageSum
from tests.control.api.conftest import NOW
from tests.control.llmlb.conftest import Desk
from tests.control.llmlb.records import add, made

DAY = 86_400.0
ALL = "/dashboard/stats/tokens"


async def test_sums(desk: Desk) -> None:
    await add(desk, made(0), made(1, started_utc=NOW - DAY), made(2, started_utc=NOW - 40 * DAY))
    assert await desk.shown(ALL) == {"total_input_tokens": 21, "total_output_tokens": 9, "total_tokens": 30}
    days = await desk.shown(f"{ALL}/daily")
    assert [each["date"] for each in days] == ["2025-10-08", "2025-10-09"]
    assert days[0] == {
        "date": "2025-10-08",
        "request_count": 1,
        "total_input_tokens": 7,
        "total_output_tokens": 3,
        "total_tokens": 10,
    }
    assert len(await desk.shown(f"{ALL}/daily?days=1")) == 1
    months = await desk.shown(f"{ALL}/monthly")
    assert [(each["month"], each["request_count"], each["total_tokens"]) for each in months] == [
        ("2025-08", 1, 10),
        ("2025-10", 2, 20),
    ]
    assert len(await desk.shown(f"{ALL}/monthly?months=1")) == 1


@pytest.mark.parametrize(
    ("year", "month", "months", "first"),
    [
        (2025, 10, 1, "2025-10-01"),
        (2025, 10, 12, "2024-11-01"),
        (2025, 1, 2, "2024-12-01"),
        (2025, 12, 120, "2016-01-01"),
    ],
)
def test_the_first_of_so_many_months(year: int, month: int, months: int, first: str) -> None:
    assert first_month(year, month, months) == first


def test_a_month_is_its_days() -> None:
    days = [UsageSum(f"2025-0{month}-1{day}", 1, 0, 2, 3, 5, 5, 0, 1.0) for month in (1, 2) for day in range(3)]
    assert [(each.month, each.request_count, each.total_tokens) for each in by_month(days)] == [
        ("2025-01", 3, 15),
        ("2025-02", 3, 15),
    ]


async def test_so_many_days_nobody_has(desk: Desk) -> None:
    for query in ("daily?days=0", "daily?days=366", "monthly?months=121", "daily?days=x"):
        assert await desk.status("GET", f"{ALL}/{query}") == 422
