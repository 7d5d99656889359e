"""Shell. Moments and lengths of time as people write them."""

import click
import pytest

from mrproxy.cli.moments import Moment, Until, at, rfc3339, seconds_in
from mrproxy.clock import utc_now


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5h", 5400), ("7d", 604_800), ("7", None), ("d", None)])
def test_lengths_of_time(text, seconds):
    assert seconds_in(text) == seconds


def test_a_moment_is_utc_unless_it_names_a_zone():
    assert Moment().convert("1970-01-02", None, None) == 86_400
    assert Moment().convert("1970-01-01T01:00+01:00", None, None) == 0
    assert rfc3339(86_400.5) == "1970-01-02T00:00:00.500000Z"
    assert rfc3339(None) is None


def test_a_time_ago_is_before_and_one_from_now_is_after():
    assert Moment().convert("1d", None, None) == pytest.approx(utc_now() - 86_400, abs=60)
    assert at(Until().convert("1d", None, None)).timestamp() == pytest.approx(utc_now() + 86_400, abs=60)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Moment(), "soon"),
        (Moment(), "2026-13-01"),
        (Until(), "soon"),
        (Until(), "2026-13-01"),
        (Until(), "99999999999d"),
    ],
)
def test_what_is_neither_is_a_usage_error(kind, text):
    with pytest.raises(click.BadParameter):
        kind.convert(text, None, None)


def test_until_is_rfc3339():
    assert Until().convert("2027-12-31", None, None) == "2027-12-31T00:00:00+00:00"
