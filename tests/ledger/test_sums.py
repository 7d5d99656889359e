"""Months begin when the clock says so, and never twice."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.ledger.sums import (
    Calendar,
    Sums,
    charged_to_budgets,
    last_month,
    month_begins_utc,
    month_in_force,
    month_of,
    next_month,
)
from tests.link.journal_examples import a_record


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@given(st.datetimes(datetime(1971, 1, 1), datetime(9990, 1, 1)))
def test_every_moment_is_in_the_month_that_has_begun_and_not_ended(moment: datetime):
    now = moment.replace(tzinfo=UTC).timestamp()
    month = month_of(now)
    assert month_begins_utc(month) <= now < month_begins_utc(next_month(month))
    assert last_month(next_month(month)) == month
    assert last_month(month) < month < next_month(month)


@pytest.mark.parametrize(
    ("seen", "month"),
    [((), "2026-07"), (("2026-06",), "2026-07"), (("2026-08",), "2026-08"), (("2099-01",), "2026-07")],
)
def test_a_clock_that_was_set_back_over_the_end_of_a_month_does_not_renew_it(seen: tuple[str, ...], month: str):
    assert month_in_force(utc("2026-07-31T23:59:59"), seen) == month


def test_a_month_begins_once():
    calendar = Calendar("2026-07")
    turns = [
        calendar.turn(utc(text))
        for text in (
            "2026-07-31T23:59:59",
            "2026-08-01T00:00:00",
            "2026-08-01T00:00:01",
            "2026-07-31T23:00:00",  # set back
            "2026-08-01T00:00:00",
            "2026-09-02T00:00:00",
        )
    ]
    assert turns == [False, True, False, False, False, True]
    assert calendar.month == "2026-09"
    assert calendar.ends_utc == utc("2026-10-01T00:00:00")


def test_a_clock_that_was_years_ahead_is_not_believed_for_ever():
    calendar = Calendar("2026-07")
    assert calendar.turn(utc("2099-01-01T00:00:00"))
    assert not calendar.turn(utc("2026-07-15T00:00:00"))
    assert calendar.turn(utc("2026-08-01T00:00:00"))


def test_a_record_counts_for_its_key_user_and_group_as_it_was_charged():
    sums = Sums()
    sums.add(a_record(key_id="k", user="ada", group="staff"), 5)
    sums.add(a_record(key_id="k", user="", group=""), 2)
    assert sums == Sums({"k": 7}, {"ada": 5}, {"staff": 5})
    assert charged_to_budgets(a_record(prompt_tokens=3, completion_tokens=None)) == 3
    assert charged_to_budgets(a_record(prompt_tokens=3, completion_tokens=4, charged_tokens=14)) == 14
    assert charged_to_budgets(a_record(prompt_tokens=3, completion_tokens=4, charged_tokens=0)) == 0
    assert charged_to_budgets(a_record(prompt_tokens=-3, completion_tokens=None)) == 0
