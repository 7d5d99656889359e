"""Numbers, moments and pages as MindRouter has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.api.problem import Problem
from mrproxy.control.mindrouter.values import PageQuery, configured_number, continued, iso, iso_at, seconds_of


@given(st.text(), st.text())
def test_what_is_configured_has_a_number_of_its_own_below_zero(one: str, other: str):
    assert -(2**48) <= configured_number(one) < 0
    assert (configured_number(one) == configured_number(other)) == (one == other)


@given(st.lists(st.integers()), st.lists(st.integers()), st.integers(0, 20), st.integers(1, 20))
def test_pages_of_both_are_the_whole_in_order(managed, configured, skip, limit):
    rows = managed[skip : skip + limit]
    page, total = continued(rows, len(managed), configured, PageQuery(skip=skip, limit=limit))
    assert page == [*managed, *configured][skip : skip + limit]
    assert total == len(managed) + len(configured)


@given(st.floats(0, 2e9))
def test_a_moment_that_is_written_is_read(utc: float):
    assert seconds_of(iso_at(utc), "/x") == pytest.approx(utc, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1970-01-02", 86_400.0), ("1970-01-01T01:00:00", 3600.0), ("1970-01-01T01:00:00+01:00", 0.0), (None, None)],
)
def test_a_moment_without_an_offset_is_utc(text, seconds):
    assert seconds_of(text, "/x") == seconds
    assert iso(None) is None


@pytest.mark.parametrize(
    "text", ["", "yesterday", "1969-12-31", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"]
)
def test_what_is_no_moment_is_refused_where_it_stands(text: str):
    with pytest.raises(Problem) as raised:
        seconds_of(text, "?start_date")
    assert raised.value.errors[0].pointer == "?start_date"
