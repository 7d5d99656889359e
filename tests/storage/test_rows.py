"""Rows that both databases take."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from mrproxy.storage.rows import COLUMNS, COST, MOST_TEXT_BYTES, STARTED, row_of, shortened, storable
from tests.link.journal_examples import a_record, journal_records

NOW_UTC = 1_800_000_000.5


@given(st.lists(journal_records, max_size=5))
@settings(max_examples=30)
def test_what_is_plain_is_stored_as_it_is(found):
    for record in found:
        *values, ingested_utc, cost = row_of(record, NOW_UTC)
        assert values == [without_nul(value) for value in astuple(record)]
        assert (ingested_utc, cost) == (NOW_UTC, None)


def without_nul(value: Any) -> Any:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


@pytest.mark.parametrize("value", [True, None, 0, -5, 1.5, "text", ""])
def test_values_that_databases_have_stay_what_they_are(value):
    assert storable(value) is value


@given(st.text(st.characters(codec="utf-8"), max_size=600))
def test_texts_are_short_and_whole_characters(text):
    found = storable(text)
    assert isinstance(found, str)
    assert len(found.encode()) <= MOST_TEXT_BYTES
    assert without_nul(text).startswith(found)
    assert len(found) == len(text) or len(found.encode()) > MOST_TEXT_BYTES - 4


def test_half_of_a_pair_that_no_text_may_have_is_replaced():
    assert shortened("\ud800" * 500) == "?" * MOST_TEXT_BYTES


@pytest.mark.parametrize(("tokens", "expected"), [(None, None), (-5, 0), (7, 7), (2**80, 10**12)])
def test_nobody_has_less_than_no_tokens_or_more_than_can_be_summed(tokens, expected):
    row = dict(zip(COLUMNS, row_of(a_record(prompt_tokens=tokens, charged_tokens=tokens), 0.0), strict=True))
    assert (row["prompt_tokens"], row["charged_tokens"], row["completion_tokens"]) == (expected, expected, 64)


def test_the_cost_stands_where_it_is_filled_in():
    assert COLUMNS[COST] == "cost"


@pytest.mark.parametrize(
    ("started_utc", "year"), [(-1e300, 1970), (1e300, 9999), (1e12, 9999), (1_790_000_000.0, 2026)]
)
def test_every_moment_is_one_that_a_calendar_has(started_utc, year):
    row = row_of(a_record(started_utc=started_utc), 0.0)
    assert datetime.fromtimestamp(row[STARTED], UTC).year == year
