"""Sums and costs, on both databases."""

from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from mrproxy.storage.rows import COLUMNS, COST, row_of
from mrproxy.storage.usage import (
    KEYS,
    MOST_COST,
    SUMS,
    Price,
    add_sums,
    cost_of,
    day_of,
    load_prices,
    models,
    priced,
    sums_of,
    usage_daily,
)
from tests.link.journal_examples import a_record, journal_records

FIELDS = (*KEYS, *SUMS)


def summed(*made: Any) -> list[dict[str, Any]]:
    return [dict(zip(FIELDS, row, strict=True)) for row in sums_of([row_of(record, 0.0) for record in made])]


def test_requests_of_one_day_user_key_model_and_backend_are_one_sum():
    (found,) = summed(
        a_record(prompt_tokens=10, completion_tokens=5),
        a_record(prompt_tokens=None, completion_tokens=None, status=503),
        a_record(prompt_tokens=1, completion_tokens=2, charged_tokens=30, code="client_departed"),
    )
    assert found == {
        "day": "2026-09-21",
        "user": "ada",
        "key_id": "k-1",
        "group": "staff",
        "model": "llama3.2:3b",
        "backend": "gpu-1",
        "requests": 3,
        "errors": 2,
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "charged_tokens": 45,
        "cost": 0,
        "total_seconds": 7.5,
    }


@pytest.mark.parametrize("name", ["user", "key_id", "group", "model", "backend"])
def test_what_differs_in_a_name_is_another_sum(name):
    assert [row[name] for row in summed(a_record(**{name: "b"}), a_record(**{name: "a"}))] == ["a", "b"]


def test_a_day_ends_at_midnight_in_utc():
    midnight = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    assert [row["day"] for row in summed(a_record(started_utc=midnight - 0.001), a_record(started_utc=midnight))] == [
        "2026-02-28",
        "2026-03-01",
    ]


@pytest.mark.parametrize(("days", "day"), [(-1.0, "1970-01-01"), (0.0, "1970-01-01"), (1e300, "9999-12-31")])
def test_moments_that_no_calendar_has_are_at_its_ends(days, day):
    assert day_of(days) == day


@given(
    st.none() | st.integers(0, 10**9),
    st.none() | st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
)
def test_a_cost_is_the_exact_one_rounded_half_up(prompt, completion, prompt_price, completion_price):
    exact = Fraction((prompt or 0) * prompt_price + (completion or 0) * completion_price, 1_000_000)
    found = cost_of(Price(prompt_price, completion_price), prompt, completion)
    assert found == MOST_COST or -Fraction(1, 2) < found - exact <= Fraction(1, 2)


def test_the_cost_of_one_request_is_bounded_and_never_below_nothing():
    assert cost_of(Price(2**63, None), 10**12, None) == MOST_COST
    assert cost_of(Price(-5, None), 10**12, None) == 0


def test_half_a_millionth_is_rounded_up_and_less_is_nothing():
    assert [cost_of(Price(1, None), tokens, None) for tokens in (499_999, 500_000, 1_500_000)] == [0, 1, 2]


def test_only_what_has_a_price_has_a_cost():
    rows = [row_of(a_record(model=model), 7.0) for model in ("free", "dear", "half")]
    found = priced(rows, {"dear": Price(1_000_000, 2_000_000), "half": Price(None, 1_000_000)})
    assert [row[COST] for row in found] == [None, 120 + 2 * 64, 64]
    assert [row[:COST] for row in found] == [row[:COST] for row in rows]
    assert priced(rows, {}) is rows


async def test_models_without_a_price_are_not_loaded(database):
    made = [
        {"name": "a", "prompt_price": 1, "completion_price": None},
        {"name": "b", "prompt_price": None, "completion_price": None},
        {"name": "c", "prompt_price": None, "completion_price": 0},
    ]
    await database.transact(
        lambda connection: connection.execute(
            models.insert(), [{**each, "created_utc": 0.0, "updated_utc": 0.0} for each in made]
        )
    )
    assert await database.read(load_prices) == {"a": Price(1, None), "c": Price(None, 0)}


async def test_batches_of_any_kind_add_up_to_the_sums_of_all(database):
    drawn: list[list[Any]] = []

    @settings(max_examples=20)
    @given(st.lists(journal_records, min_size=1, max_size=12))
    def draw(batch):
        drawn.append([row_of(record, 0.0) for record in [*batch, a_record()]])

    draw()
    for batch in drawn:
        await database.transact(add_sums, sums_of(batch))
    found = await database.read(lambda connection: connection.execute(select(*(usage_daily.c[n] for n in FIELDS))))
    in_table = {tuple(row[: len(KEYS)]): row[len(KEYS) : -1] for row in found}
    expected = sums_of([row for batch in drawn for row in batch])
    assert in_table == {row[: len(KEYS)]: row[len(KEYS) : -1] for row in expected}


async def test_nine_requests_beyond_belief_do_not_overflow_a_sum(database):
    row = row_of(a_record(prompt_tokens=2**63, completion_tokens=2**63, total_seconds=1e308), 0.0)
    for _ in range(9):
        await database.transact(add_sums, sums_of(priced([row], {"llama3.2:3b": Price(2**60, 1)})))
    chosen = select(usage_daily.c.prompt_tokens, usage_daily.c.cost, usage_daily.c.total_seconds)
    (found,) = await database.read(lambda connection: connection.execute(chosen))
    assert tuple(found) == (9 * 10**12, 9 * MOST_COST, 9e9)


def test_the_columns_are_those_of_the_table():
    assert set(FIELDS) == set(usage_daily.c.keys())
    assert set(COLUMNS) >= {"started_utc", "status", "code"}
