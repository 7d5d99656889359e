"""A database that is gone for seconds under load; `python -m bench.outage --seconds 600` is the full size."""

import pytest

from bench.outage import describe, measure
from bench.postgres import find_binaries

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(find_binaries() is None, reason="PostgreSQL is not installed (apt-get install postgresql)"),
]


@pytest.mark.parametrize("how", ["stop", "freeze"])
def test_nobody_notices_that_the_database_is_away_and_nothing_is_lost(how):
    outcome = measure(seconds=3.0, rate=50.0, how=how, lead_seconds=1.0)
    assert outcome.is_good, describe(outcome)
    if how == "stop":
        assert "the database is unavailable" in outcome.warnings
    assert outcome.pages[200] >= 1
    assert set(outcome.pages) <= {200, 503}
    assert "good" in describe(outcome)
