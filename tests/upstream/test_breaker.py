"""The breaker's moves, its clock, and what never happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.upstream.breaker import Breaker, BreakerPolicy, BreakerState, Failure

POLICY = BreakerPolicy(
    failures=3, ratio_percent=50, min_requests=10, window_seconds=30.0, open_seconds=5.0, max_open_seconds=30.0
)


def a_breaker(state: BreakerState = BreakerState.CLOSED) -> Breaker:
    """Opened at 0, so it has rested at 5; half open since 5."""
    breaker = Breaker(POLICY, 0.0)
    if state is not BreakerState.CLOSED:
        for _ in range(3):
            breaker.record_failure(Failure.CONNECT, 0.0)
    if state is BreakerState.HALF_OPEN:
        assert breaker.allows(5.0)
    assert breaker.state is state
    return breaker


def test_a_new_breaker_lets_everything_through() -> None:
    breaker = a_breaker()
    assert not breaker.is_open(0.0)
    assert all(breaker.allows(0.0) for _ in range(100))


def test_it_opens_after_three_connect_failures_in_a_row() -> None:
    breaker = a_breaker()
    for kind in (Failure.CONNECT, Failure.CONNECT, Failure.TIMEOUT, Failure.CONNECT, Failure.CONNECT):
        breaker.record_failure(kind, 0.0)
    breaker.record_success(0.0)
    breaker.record_failure(Failure.CONNECT, 0.0)
    breaker.record_failure(Failure.CONNECT, 0.0)
    assert breaker.state is BreakerState.CLOSED
    breaker.record_failure(Failure.CONNECT, 0.0)
    assert breaker.state is BreakerState.OPEN
    assert breaker.is_open(4.9)
    assert not breaker.allows(4.9)


@pytest.mark.parametrize("kind", [Failure.SERVER_ERROR, Failure.TIMEOUT])
def test_it_opens_when_half_of_enough_requests_fail(kind: Failure) -> None:
    breaker = a_breaker()
    for _ in range(5):
        breaker.record_success(0.0)
    for _ in range(4):
        breaker.record_failure(kind, 1.0)
    assert breaker.state is BreakerState.CLOSED
    breaker.record_failure(kind, 2.0)
    assert breaker.state is BreakerState.OPEN


def test_failures_that_left_the_window_do_not_count() -> None:
    breaker = a_breaker()
    for _ in range(9):
        breaker.record_failure(Failure.SERVER_ERROR, 0.0)
    breaker.record_failure(Failure.SERVER_ERROR, 31.0)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.statistics(31.0).failures == 1


def test_few_failures_among_many_successes_do_not_open_it() -> None:
    breaker = a_breaker()
    for _ in range(100):
        breaker.record_success(0.0)
        breaker.record_success(0.0)
        breaker.record_failure(Failure.SERVER_ERROR, 0.0)
    assert breaker.state is BreakerState.CLOSED


def test_after_its_rest_one_probe_goes_through() -> None:
    breaker = a_breaker(BreakerState.OPEN)
    assert not breaker.is_open(5.0)
    assert breaker.state is BreakerState.OPEN
    assert [breaker.allows(5.0) for _ in range(3)] == [True, False, False]
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.is_open(5.0)


def test_a_good_probe_closes_it_and_the_past_is_forgotten() -> None:
    breaker = a_breaker(BreakerState.HALF_OPEN)
    breaker.record_success(6.0)
    assert breaker.state is BreakerState.CLOSED
    for _ in range(2):
        breaker.record_failure(Failure.CONNECT, 6.0)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.statistics(6.0).failures == 2


def test_each_failed_probe_doubles_the_rest_up_to_the_maximum() -> None:
    breaker = a_breaker(BreakerState.OPEN)
    now, rests = 0.0, []
    for _ in range(5):
        rest = breaker.statistics(now).retry_in_seconds
        rests.append(rest)
        now += rest
        assert breaker.allows(now)
        breaker.record_failure(Failure.TIMEOUT, now)
    assert rests == [5.0, 10.0, 20.0, 30.0, 30.0]
    assert breaker.statistics(now).times_opened == 6
    now += 30.0
    assert breaker.allows(now)
    breaker.record_success(now)
    for _ in range(3):
        breaker.record_failure(Failure.CONNECT, now)
    assert breaker.statistics(now).retry_in_seconds == 5.0


def test_a_probe_of_which_nothing_is_heard_is_given_up_after_a_while() -> None:
    breaker = a_breaker(BreakerState.HALF_OPEN)
    assert not breaker.allows(9.9)
    assert breaker.allows(10.0)
    assert not breaker.allows(10.0)


def test_an_abandoned_probe_makes_way_for_the_next_at_once() -> None:
    breaker = a_breaker(BreakerState.HALF_OPEN)
    breaker.abandon(6.0)
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.allows(6.0)
    assert not breaker.allows(6.0)


@pytest.mark.parametrize("state", [BreakerState.CLOSED, BreakerState.OPEN])
def test_abandoning_without_a_probe_changes_nothing(state: BreakerState) -> None:
    breaker = a_breaker(state)
    before = breaker.statistics(1.0)
    breaker.abandon(1.0)
    assert breaker.statistics(1.0) == before


def test_late_answers_do_not_move_an_open_breaker() -> None:
    breaker = a_breaker(BreakerState.OPEN)
    breaker.record_success(1.0)
    breaker.record_failure(Failure.CONNECT, 1.0)
    assert breaker.state is BreakerState.OPEN
    assert breaker.statistics(1.0).retry_in_seconds == 4.0


def test_a_429_is_no_failure_and_a_good_probe() -> None:
    breaker = a_breaker()
    for _ in range(100):
        breaker.record_failure(Failure.RATE_LIMITED, 0.0)
    assert breaker.state is BreakerState.CLOSED
    breaker = a_breaker(BreakerState.HALF_OPEN)
    breaker.record_failure(Failure.RATE_LIMITED, 5.0)
    assert breaker.state is BreakerState.CLOSED


def test_a_backend_that_asked_for_patience_is_held_out_of_routing() -> None:
    breaker = a_breaker()
    breaker.hold(20.0, 0.0)
    breaker.hold(2.0, 1.0)
    assert breaker.is_open(19.9)
    assert not breaker.allows(19.9)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.statistics(15.0).retry_in_seconds == 5.0
    assert breaker.allows(20.0)


feeds = st.sampled_from(["allows", "success", "abandon", *Failure])


@given(st.lists(st.tuples(feeds, st.integers(0, 8)), max_size=60))
def test_whatever_happens_it_never_stays_shut_and_never_lets_two_probes_pass(
    steps: list[tuple[str | Failure, int]],
) -> None:
    breaker, now = Breaker(POLICY, 0.0), 0.0
    for feed, seconds in steps:
        now += seconds
        could_pass = not breaker.is_open(now)
        match feed:
            case "allows":
                was = breaker.state
                assert breaker.allows(now) is could_pass
                if was is not BreakerState.CLOSED and could_pass:
                    assert breaker.state is BreakerState.HALF_OPEN
                    assert not breaker.allows(now)
            case "success":
                breaker.record_success(now)
            case "abandon":
                breaker.abandon(now)
            case Failure():
                breaker.record_failure(feed, now)
        statistics = breaker.statistics(now)
        assert (statistics.retry_in_seconds > 0.0) is breaker.is_open(now)
        assert not breaker.is_open(now + POLICY.max_open_seconds)
