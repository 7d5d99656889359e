"""Four limits of one account: each refuses with its own code, and a refusal takes nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrproxy.errors import Code, Refused
from mrproxy.ledger.accounts import Account, Owner, reserve
from mrproxy.link.snapshot import Limits


def account(limits: Limits, owner: Owner = Owner.KEY, spent_tokens: int = 0) -> Account:
    return Account(owner, "a", limits, 0.0, spent_tokens)


def refusal(accounts: tuple[Account, ...], tokens: int = 1, now: float = 0.0) -> Refused:
    with pytest.raises(Refused) as caught:
        reserve(accounts, tokens, now, tokens)
    return caught.value


def test_requests_per_minute() -> None:
    one = account(Limits(requests_per_minute=2))
    reserve((one,), 1, 0.0, 1)
    reserve((one,), 1, 0.0, 1)
    error = refusal((one,))
    assert (error.code, error.status, error.retry_after_seconds) == (Code.REQUEST_LIMIT, 429, 30.0)
    reserve((one,), 1, 30.0, 1)


def test_tokens_per_minute() -> None:
    one = account(Limits(tokens_per_minute=600))
    reserve((one,), 500, 0.0, 500)
    error = refusal((one,), 200)
    assert (error.code, error.retry_after_seconds) == (Code.TOKEN_LIMIT, 10.0)
    reserve((one,), 200, 10.0, 200)


def test_concurrent_requests() -> None:
    one = account(Limits(concurrent_requests=1))
    reserve((one,), 1, 0.0, 1)
    assert refusal((one,)).code is Code.CONCURRENCY_LIMIT
    one.settle(1, 1)
    reserve((one,), 1, 0.0, 1)
    one.refund(1, 1)
    reserve((one,), 1, 0.0, 1)


def test_token_budget_counts_what_is_spent_and_what_is_reserved() -> None:
    one = account(Limits(token_budget=1000), spent_tokens=500)
    reserve((one,), 400, 0.0, 400)
    error = refusal((one,), 200)
    assert error.code is Code.BUDGET_EXHAUSTED
    assert error.retry_after_seconds == 1.0
    one.settle(400, 300)
    reserve((one,), 200, 0.0, 200)
    assert refusal((one,), 201).retry_after_seconds == 3600.0


def test_the_message_says_whose_limit_it_is_and_how_much() -> None:
    user = account(Limits(requests_per_minute=1), Owner.USER)
    reserve((user,), 1, 0.0, 1)
    assert refusal((user,)).message == "Limit reached: the user may use 1 requests per minute."


@pytest.mark.parametrize(
    "limits",
    [
        Limits(requests_per_minute=0),
        Limits(tokens_per_minute=0),
        Limits(concurrent_requests=0),
        Limits(token_budget=0),
    ],
)
def test_a_limit_of_zero_refuses_everything_and_does_not_invite_to_retry_soon(limits: Limits) -> None:
    assert refusal((account(limits),), 1, 1e6).retry_after_seconds == 3600.0


@pytest.mark.parametrize(
    "limits",
    [
        Limits(requests_per_minute=0),
        Limits(requests_per_minute=10, tokens_per_minute=0),
        Limits(concurrent_requests=0),
        Limits(token_budget=0),
    ],
)
def test_when_one_account_refuses_none_has_taken_anything(limits: Limits) -> None:
    generous = account(Limits(requests_per_minute=10, tokens_per_minute=1000, concurrent_requests=5, token_budget=9999))
    unlimited, strict = account(Limits()), account(limits, Owner.USER)
    before = [one.statistics(0.0) for one in (generous, unlimited, strict)]
    refusal((generous, unlimited, strict), 77)
    assert [one.statistics(0.0) for one in (generous, unlimited, strict)] == before


def test_truth_beyond_the_estimate_is_charged_below_zero() -> None:
    one = account(Limits(tokens_per_minute=600))
    reserve((one,), 100, 0.0, 100)
    one.settle(100, 1200)
    assert one.statistics(0.0).tokens_remaining == -600.0
    assert refusal((one,), 1).retry_after_seconds == pytest.approx(60.1)


def test_limits_that_come_and_go_while_requests_run_leave_the_sums_right() -> None:
    one = account(Limits())
    reserve((one,), 50, 0.0, 50)
    one.apply(Limits(concurrent_requests=1, token_budget=100, tokens_per_minute=60, requests_per_minute=60), 0.0)
    assert refusal((one,)).code is Code.CONCURRENCY_LIMIT
    one.settle(50, 50)
    reserve((one,), 50, 0.0, 50)
    one.apply(Limits(), 0.0)
    one.refund(50, 50)
    statistics = one.statistics(0.0)
    assert (statistics.in_flight, statistics.reserved_tokens, statistics.spent_tokens) == (0, 0, 50)


limits = st.builds(
    Limits,
    requests_per_minute=st.none() | st.integers(0, 20),
    tokens_per_minute=st.none() | st.integers(0, 2000),
    concurrent_requests=st.none() | st.integers(0, 5),
    token_budget=st.none() | st.integers(0, 5000),
)


@settings(max_examples=50)
@given(limits, limits, st.lists(st.tuples(st.integers(0, 1000), st.booleans(), st.integers(0, 1000)), max_size=20))
def test_reserve_minus_settle_minus_refund_is_zero(
    key_limits: Limits, user_limits: Limits, requests: list[tuple[int, bool, int]]
) -> None:
    accounts = (account(key_limits), account(user_limits, Owner.USER))
    running, spent, started = [], 0, 0
    for tokens, is_settled, truth in requests:
        try:
            reserve(accounts, tokens, 0.0, tokens)
        except Refused:
            continue
        running.append((tokens, is_settled, truth))
    for one in accounts:
        assert one.in_flight <= (len(requests) if one.limits.concurrent_requests is None else one.concurrent_requests)
        assert one.spent_tokens + one.reserved_tokens <= one.budget_tokens
    for tokens, is_settled, truth in running:
        for one in accounts:
            one.settle(tokens, truth) if is_settled else one.refund(tokens, tokens)
        spent += truth * is_settled
        started += is_settled
    for one, wanted in zip(accounts, (key_limits, user_limits), strict=True):
        assert (one.in_flight, one.reserved_tokens, one.spent_tokens) == (0, 0, spent)
        if one.requests is not None and wanted.requests_per_minute is not None:
            assert one.requests.level == wanted.requests_per_minute - started
        if one.tokens is not None and wanted.tokens_per_minute is not None:
            assert one.tokens.level == wanted.tokens_per_minute - spent


def test_what_other_workers_hold_cannot_be_held_here() -> None:
    one = account(Limits(concurrent_requests=3, token_budget=100))
    one.elsewhere_in_flight, one.elsewhere_reserved_tokens = 2, 60
    one.refresh()
    assert refusal((one,), 41).retry_after_seconds == 1.0
    reserve((one,), 40, 0.0, 40)
    error = refusal((one,), 1)
    assert (error.code, error.retry_after_seconds) == (Code.CONCURRENCY_LIMIT, 1.0)
    assert "may have 3 requests" in error.message
