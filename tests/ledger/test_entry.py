"""Entries end exactly once, on every way out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.ledger.accounts import Account, Owner, reserve
from mrproxy.ledger.entry import Entry, ShadowEntry, SharedEntry, WeightedEntry, weighted
from mrproxy.link.snapshot import Limits

HEAVY = (WeightedEntry, ShadowEntry)
LIMITS = Limits(requests_per_minute=60, tokens_per_minute=6000, concurrent_requests=3, token_budget=100_000)


def open_entry(kind: type[Entry] = Entry, tokens: int = 500) -> tuple[Account, Entry]:
    account = Account(Owner.KEY, "k", LIMITS, 0.0)
    if kind is ShadowEntry:
        return account, ShadowEntry((account,), tokens, 2.0)
    entry = WeightedEntry((account,), tokens, 2.0) if kind is WeightedEntry else kind((account,), tokens)
    reserve((account,), tokens, 0.0, entry.reserved_budget_tokens if isinstance(entry, WeightedEntry) else tokens)
    return account, entry


def is_balanced(account: Account) -> bool:
    return not (account.in_flight or account.reserved_tokens)


@pytest.mark.parametrize("kind", [Entry, SharedEntry, WeightedEntry, ShadowEntry])
@given(st.lists(st.sampled_from(["settle", "refund", "exit"]), max_size=5), st.booleans())
def test_only_the_first_ending_counts(kind: type[Entry], endings: list[str], is_handed_over: bool) -> None:
    account, entry = open_entry(kind)
    with entry:
        if is_handed_over:
            former, entry = entry, entry.hand_over()
            assert not former.is_open
        assert entry.is_open
        for ending in endings:
            {"settle": lambda: entry.settle(1, 2), "refund": entry.refund, "exit": lambda: entry.__exit__()}[ending]()
        assert entry.is_open is (not endings)
        entry.refund()
    assert is_balanced(account)
    assert account.spent_tokens == ((6 if kind in HEAVY else 3) if endings[:1] == ["settle"] else 0)


@pytest.mark.parametrize(
    ("prompt", "completion", "charged"), [(None, None, 500), (7, None, 7), (None, 9, 9), (0, 0, 0), (-5, 2, 0)]
)
@pytest.mark.parametrize("kind", [Entry, SharedEntry, WeightedEntry, ShadowEntry])
def test_uncounted_is_charged_as_estimated_and_zero_is_zero(
    kind: type[Entry], prompt: int | None, completion: int | None, charged: int
) -> None:
    account, entry = open_entry(kind)
    assert entry.settle(prompt, completion) == charged
    assert account.spent_tokens == (2 * charged if kind in HEAVY else charged)


@pytest.mark.parametrize(("tokens", "weight", "charged"), [(3, 1.1, 3), (100, 1.1, 110), (5, 0.0, 0), (7, -1.0, 0)])
def test_a_weight_is_rounded_and_never_a_gift(tokens: int, weight: float, charged: int) -> None:
    assert weighted(tokens, weight) == charged
