"""Retries stay a share of requests, with a floor for quiet hours."""

from hypothesis import given
from hypothesis import strategies as st

from mrproxy.upstream.retry_budget import RetryBudget, RetryBudgetStatistics


def test_little_traffic_may_retry_up_to_the_floor() -> None:
    budget = RetryBudget(20, 0.0, floor_retries=3)
    budget.record_request(0.0)
    assert [budget.take(0.0) for _ in range(5)] == [True, True, True, False, False]


def test_much_traffic_may_retry_one_in_five() -> None:
    budget = RetryBudget(20, 0.0)
    for _ in range(1000):
        budget.record_request(0.0)
    assert sum(budget.take(0.0) for _ in range(1000)) == 200
    assert budget.statistics(0.0) == RetryBudgetStatistics(requests=1000, retries=200, allowed_retries=200)


def test_the_budget_comes_back_as_the_window_moves_on() -> None:
    budget = RetryBudget(20, 0.0, window_seconds=10.0, floor_retries=1)
    assert budget.take(0.0)
    assert not budget.take(8.9)
    assert budget.take(10.0)


def test_zero_percent_forbids_all_retries() -> None:
    assert not RetryBudget(0, 0.0).take(0.0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=200))
def test_retries_never_exceed_the_larger_of_floor_and_share_when_one_is_taken(steps: list[tuple[bool, int]]) -> None:
    budget, now = RetryBudget(20, 0.0, floor_retries=2), 0.0
    for is_request, seconds in steps:
        now += seconds
        if is_request:
            budget.record_request(now)
        elif budget.take(now):
            statistics = budget.statistics(now)
            assert statistics.retries <= max(2, statistics.requests * 0.2)
