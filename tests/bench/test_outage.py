"""When a run is called good; runs themselves are in tests/front_door/test_outage.py."""

from collections import Counter
from dataclasses import replace

import pytest

from bench.outage import Asked, Outcome, describe

GOOD = Outcome(
    asked=[Asked(at, 200, 0.01) for at in (1.0, 2.0, 6.0, 9.0)],
    pages=Counter({200: 2, 503: 1}),
    away_seconds=(3.0, 33.0),
    catch_up_seconds=1.5,
    records=4,
    ids=4,
    summed_requests=4,
    warnings=["the database is unavailable"],
    log_errors=1,
)


def test_a_run_in_which_everything_was_answered_and_counted_once_is_good():
    assert GOOD.is_good
    assert describe(GOOD).splitlines()[-1] == "good"
    assert "while away: 2 requests, 10.0 ms median" in describe(GOOD)


@pytest.mark.parametrize(
    "changes",
    [
        {"records": 3},
        {"records": 5, "ids": 4},
        {"summed_requests": 8},
        {"asked": [*GOOD.asked[1:], Asked(1.0, 401, 0.01)]},
        {"asked": [*GOOD.asked[1:], Asked(1.0, 0, 0.01)]},
        {"pages": Counter({401: 1})},
        {"warnings": []},
    ],
)
def test_whatever_is_lost_doubled_refused_or_not_said_is_not_good(changes):
    outcome = replace(GOOD, **changes)
    assert not outcome.is_good
    assert describe(outcome).splitlines()[-1] == "NOT GOOD"
