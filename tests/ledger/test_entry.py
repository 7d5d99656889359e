"""Entries end exactly once, on every way out; reloads keep what is known."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.errors import Code, Refused
from mrproxy.ledger.entry import Ledger
from mrproxy.link.snapshot import KeySpec, Limits, UserSpec


@dataclass(frozen=True)
class ACaller:
    key_id: str = "k1"


ALL = Limits(requests_per_minute=60, tokens_per_minute=6000, concurrent_requests=3, token_budget=100_000)
NONE = Limits()


def key(limits: Limits = NONE, key_id: str = "k1", user: str | None = "ada") -> KeySpec:
    return KeySpec(id=key_id, name=key_id, digest="00", user=user, limits=limits)


def ledger_of(key_limits: Limits = NONE, user_limits: Limits = NONE) -> Ledger:
    ledger = Ledger()
    ledger.load([key(key_limits)], [UserSpec("ada", "staff", limits=user_limits)], 0.0)
    return ledger


def is_balanced(ledger: Ledger) -> bool:
    return all(not (one.in_flight or one.reserved_tokens) for one in ledger.statistics(0.0))


def spent(ledger: Ledger) -> list[int]:
    return [one.spent_tokens for one in ledger.statistics(0.0)]


def test_leaving_the_block_unsettled_refunds_everything() -> None:
    ledger = ledger_of(ALL, ALL)
    before = ledger.statistics(0.0)
    with ledger.open_entry(ACaller(), 500, 0.0):
        assert [one.in_flight for one in ledger.statistics(0.0)] == [1, 1]
        assert [one.tokens_remaining for one in ledger.statistics(0.0)] == [5500.0, 5500.0]
    assert ledger.statistics(0.0) == before


def test_an_exception_passes_and_refunds() -> None:
    ledger = ledger_of(ALL)
    before = ledger.statistics(0.0)
    with pytest.raises(ZeroDivisionError), ledger.open_entry(ACaller(), 500, 0.0):
        raise ZeroDivisionError
    assert ledger.statistics(0.0) == before


def test_what_is_handed_over_outlives_the_block_and_is_settled_once() -> None:
    ledger = ledger_of(ALL, ALL)
    with ledger.open_entry(ACaller(), 500, 0.0) as entry:
        late = entry.hand_over()
        assert not entry.is_open
    assert late.is_open
    assert [one.in_flight for one in ledger.statistics(0.0)] == [1, 1]
    assert (late.settle(30, 12), late.settle(30, 12), entry.settle(30, 12)) == (42, 0, 0)
    assert spent(ledger) == [42, 42]
    assert is_balanced(ledger)


def test_settling_charges_the_truth_to_key_and_user() -> None:
    ledger = ledger_of(ALL, ALL)
    with ledger.open_entry(ACaller(), 500, 0.0) as entry:
        assert entry.is_open
        assert entry.settle(100, 23) == 123
        assert not entry.is_open
        assert entry.settle(100, 23) == 0
    assert spent(ledger) == [123, 123]
    assert is_balanced(ledger)
    assert [one.tokens_remaining for one in ledger.statistics(0.0)] == [5877.0, 5877.0]
    assert [one.requests_remaining for one in ledger.statistics(0.0)] == [59.0, 59.0]


@pytest.mark.parametrize(
    ("prompt", "completion", "charged"), [(None, None, 500), (7, None, 7), (None, 9, 9), (0, 0, 0), (-5, 2, 0)]
)
def test_uncounted_is_charged_as_estimated_and_zero_is_zero(
    prompt: int | None, completion: int | None, charged: int
) -> None:
    ledger = ledger_of(ALL)
    with ledger.open_entry(ACaller(), 500, 0.0) as entry:
        assert entry.settle(prompt, completion) == charged
    assert spent(ledger) == [charged, charged]


@given(st.lists(st.sampled_from(["settle", "refund", "exit"]), max_size=5))
def test_only_the_first_ending_counts(endings: list[str]) -> None:
    ledger = ledger_of(ALL, ALL)
    with ledger.open_entry(ACaller(), 500, 0.0) as entry:
        for ending in endings:
            {"settle": lambda: entry.settle(1, 2), "refund": entry.refund, "exit": lambda: entry.__exit__()}[ending]()
    assert is_balanced(ledger)
    assert spent(ledger) == ([3, 3] if endings[:1] == ["settle"] else [0, 0])


def test_a_refusal_carries_the_headers_and_leaves_the_ledger_balanced() -> None:
    ledger = ledger_of(Limits(requests_per_minute=60), Limits(tokens_per_minute=100))
    ledger.open_entry(ACaller(), 100, 0.0).settle(100, 0)
    with pytest.raises(Refused) as caught:
        ledger.open_entry(ACaller(), 50, 6.0)
    assert caught.value.code is Code.TOKEN_LIMIT
    assert dict(caught.value.headers) == {
        b"x-ratelimit-limit-requests": b"60",
        b"x-ratelimit-remaining-requests": b"60",
        b"x-ratelimit-reset-requests": b"0ms",
        b"x-ratelimit-limit-tokens": b"100",
        b"x-ratelimit-remaining-tokens": b"10",
        b"x-ratelimit-reset-tokens": b"54000ms",
    }
    assert is_balanced(ledger)


def test_a_key_that_was_revoked_while_the_body_came_in_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        ledger_of().open_entry(ACaller("gone"), 1, 0.0)
    assert caught.value.code is Code.INVALID_KEY
    assert ledger_of().ratelimit_headers(ACaller("gone"), 0.0) == b""


def test_ratelimit_headers_tell_the_scarcer_of_key_and_user() -> None:
    ledger = ledger_of(Limits(requests_per_minute=100), Limits(requests_per_minute=50, tokens_per_minute=1000))
    assert ledger.ratelimit_headers(ACaller(), 0.0) == (
        b"x-ratelimit-limit-requests: 50\r\nx-ratelimit-remaining-requests: 50\r\nx-ratelimit-reset-requests: 0ms\r\n"
        b"x-ratelimit-limit-tokens: 1000\r\nx-ratelimit-remaining-tokens: 1000\r\nx-ratelimit-reset-tokens: 0ms\r\n"
    )


@pytest.mark.parametrize("limits", [Limits(), Limits(concurrent_requests=1, token_budget=1)])
def test_without_a_rate_limit_there_are_no_ratelimit_headers(limits: Limits) -> None:
    assert ledger_of(limits).ratelimit_headers(ACaller(), 0.0) == b""


def test_each_kind_of_limit_has_its_own_three_headers() -> None:
    assert ledger_of(Limits(requests_per_minute=1)).ratelimit_headers(ACaller(), 0.0).count(b"-requests: ") == 3
    assert ledger_of(Limits(tokens_per_minute=0)).ratelimit_headers(ACaller(), 0.0) == (
        b"x-ratelimit-limit-tokens: 0\r\nx-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 0ms\r\n"
    )


def test_a_debt_is_told_as_nothing_remaining() -> None:
    ledger = ledger_of(Limits(tokens_per_minute=60))
    ledger.open_entry(ACaller(), 1, 0.0).settle(100, 0)
    assert b"remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 100000ms\r\n" in ledger.ratelimit_headers(ACaller(), 0.0)


def test_keys_of_one_user_share_the_users_limits() -> None:
    ledger = Ledger()
    user = UserSpec("ada", "staff", limits=Limits(concurrent_requests=1))
    ledger.load([key(), key(key_id="k2")], [user], 0.0)
    with ledger.open_entry(ACaller("k1"), 1, 0.0):
        with pytest.raises(Refused, match="user"):
            ledger.open_entry(ACaller("k2"), 1, 0.0)
    ledger.open_entry(ACaller("k2"), 1, 0.0).refund()


def test_a_key_without_a_user_and_one_whose_user_is_not_listed_have_accounts() -> None:
    ledger = Ledger()
    ledger.load([key(user=None), key(key_id="k2", user="unlisted")], [], 0.0)
    ledger.open_entry(ACaller("k1"), 1, 0.0).settle(1, 1)
    ledger.open_entry(ACaller("k2"), 1, 0.0).settle(2, 1)
    assert {(str(one.owner), one.name, one.spent_tokens) for one in ledger.statistics(0.0)} == {
        ("key", "k1", 2),
        ("key", "k2", 3),
        ("user", "unlisted", 3),
    }


def test_a_reload_keeps_the_state_of_accounts_that_stay() -> None:
    ledger = ledger_of(ALL)
    ledger.open_entry(ACaller(), 100, 0.0).settle(3000, 0)
    entry = ledger.open_entry(ACaller(), 100, 0.0)
    ledger.load([key(Limits(tokens_per_minute=600, token_budget=5000))], [], 0.0)
    (statistics, *_) = ledger.statistics(0.0)
    assert (statistics.in_flight, statistics.spent_tokens, statistics.budget_remaining) == (1, 3000, 1900)
    assert statistics.tokens_remaining == 290.0
    entry.refund()
    assert is_balanced(ledger)


def test_an_entry_ends_in_its_account_though_the_key_is_gone() -> None:
    ledger = ledger_of(ALL)
    entry = ledger.open_entry(ACaller(), 100, 0.0)
    ledger.load([], [], 0.0)
    assert ledger.statistics(0.0) == ()
    entry.settle(1, 1)


def test_a_budget_is_not_new_for_a_key_that_was_away_or_a_process_that_restarted() -> None:
    ledger = Ledger({"k1": 600}, {"ada": 100})
    limited = key(Limits(token_budget=1000))
    ledger.load([limited], [], 0.0)
    ledger.open_entry(ACaller(), 100, 0.0).settle(300, 0)
    ledger.load([], [], 0.0)
    ledger.load([limited], [], 0.0)
    assert spent(ledger) == [900, 400]
    with pytest.raises(Refused, match="budget of 1000 tokens has 100 left and this may take 101"):
        ledger.open_entry(ACaller(), 101, 0.0)
