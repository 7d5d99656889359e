"""The measurement of several workers' limits, in small: two real ones stay within the bound."""

import pytest
from click.testing import CliRunner

from bench import overshoot


@pytest.mark.slow
def test_two_workers_pass_no_limit_by_more_than_the_bound():
    result = CliRunner().invoke(overshoot.main, ["--seconds=0.5", "--connections=12"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "requests per minute",
        "requests at once",
        "tokens of a budget",
    ]
    assert all(line.endswith("within the bound") for line in lines), result.output


def test_a_finding_says_when_the_bound_does_not_hold():
    assert str(overshoot.Finding("x", 10, 25, 20, {"w1": 25})) == (
        "x: 10 allowed, 25 taken (w1 25), 150% over; the bound is 20: BEYOND THE BOUND"
    )
