"""Requests reserve from all that they belong to, and reloads keep what is known."""

from contextlib import suppress
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrproxy.errors import Code, Refused
from mrproxy.ledger.ledger import Ledger
from mrproxy.ledger.sums import Sums
from mrproxy.link.catalogue import Catalogue, catalogue_from
from mrproxy.link.snapshot import GroupSpec, KeySpec, Limits, ModelSpec, Snapshot, UserSpec


@dataclass(frozen=True)
class ACaller:
    key_id: str = "k1"

    @property
    def digest(self) -> bytes:
        return self.key_id.encode()


ALL = Limits(requests_per_minute=60, tokens_per_minute=6000, concurrent_requests=3, token_budget=100_000)
NONE = Limits()


def key(limits: Limits = NONE, key_id: str = "k1", user: str | None = "ada") -> KeySpec:
    return KeySpec(id=key_id, name=key_id, digest=key_id.encode().hex(), user=user, limits=limits)


def catalogue(keys: list[KeySpec], users: list[UserSpec], **more: tuple[object, ...]) -> Catalogue:
    return catalogue_from(Snapshot(generation=1, created_utc=0.0, keys=tuple(keys), users=tuple(users), **more))  # type: ignore[arg-type]


def ledger_of(key_limits: Limits = NONE, user_limits: Limits = NONE, pot: Limits = NONE, **more: object) -> Ledger:
    """Of a key and its user; the accounts are there already."""
    ledger = Ledger(**more)  # type: ignore[arg-type]
    ada, staff = UserSpec("ada", "staff", limits=user_limits), GroupSpec("staff", shared=pot)
    ledger.load(catalogue([key(key_limits)], [ada], groups=(staff,), models=(ModelSpec("dear", 2.5),)))
    with suppress(Refused):
        ledger.open_entry(ACaller(), 0, 0.0).refund()
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
    ledger.load(catalogue([key(), key(key_id="k2")], [user]))
    with ledger.open_entry(ACaller("k1"), 1, 0.0):
        with pytest.raises(Refused, match="user"):
            ledger.open_entry(ACaller("k2"), 1, 0.0)
    ledger.open_entry(ACaller("k2"), 1, 0.0).refund()


def test_a_key_without_a_user_and_one_whose_user_is_not_listed_have_accounts() -> None:
    ledger = Ledger()
    ledger.load(catalogue([key(user=None), key(key_id="k2", user="unlisted")], []))
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
    ledger.load(catalogue([key(Limits(tokens_per_minute=600, token_budget=5000))], []))
    ledger.open_entry(ACaller(), 0, 0.0).refund()
    (statistics, *_) = ledger.statistics(0.0)
    assert (statistics.in_flight, statistics.spent_tokens, statistics.budget_remaining) == (1, 3000, 1900)
    assert statistics.tokens_remaining == 290.0
    entry.refund()
    assert is_balanced(ledger)


def test_an_entry_ends_in_its_account_though_the_key_is_gone() -> None:
    ledger = ledger_of(ALL)
    entry = ledger.open_entry(ACaller(), 100, 0.0)
    ledger.load(catalogue([], []))
    entry.settle(1, 1)
    assert is_balanced(ledger)
    assert spent(ledger) == [2, 2]


def test_a_budget_is_not_new_for_a_key_that_was_away_or_a_process_that_restarted() -> None:
    ledger = Ledger(Sums({"k1": 600}, {"ada": 100}))
    limited = catalogue([key(Limits(token_budget=1000))], [])
    ledger.load(limited)
    ledger.open_entry(ACaller(), 100, 0.0).settle(300, 0)
    ledger.load(catalogue([], []))
    with pytest.raises(Refused, match="revoked"):
        ledger.open_entry(ACaller(), 1, 0.0)
    ledger.load(limited)
    assert spent(ledger) == [900, 400]
    with pytest.raises(Refused, match="budget of 1000 tokens has 100 left and this may take 101"):
        ledger.open_entry(ACaller(), 101, 0.0)


# Pots


def test_a_group_has_one_pot_for_all_its_keys() -> None:
    ledger = Ledger(Sums(by_group={"staff": 500}))
    groups = (GroupSpec("staff", shared=Limits(token_budget=1000)),)
    service = msgspec.structs.replace(key(key_id="k2", user=None), group="staff")
    ledger.load(catalogue([key(), service], [UserSpec("ada", "staff")], groups=groups))
    ledger.open_entry(ACaller("k1"), 100, 0.0).settle(300, 0)
    ledger.open_entry(ACaller("k2"), 100, 0.0).settle(50, 50)
    with pytest.raises(Refused, match="the group's budget of 1000 tokens has 100 left and this may take 101"):
        ledger.open_entry(ACaller("k1"), 101, 0.0)
    ledger.open_entry(ACaller("k1"), 100, 0.0).refund()
    assert is_balanced(ledger)


def test_a_group_without_a_pot_costs_its_members_nothing() -> None:
    assert [str(one.owner) for one in ledger_of().statistics(0.0)] == ["key", "user"]
    assert [str(one.owner) for one in ledger_of(pot=ALL).statistics(0.0)] == ["key", "user", "group"]


def test_a_pot_that_comes_later_knows_what_was_spent_before() -> None:
    ledger = ledger_of(lifetime=Sums({"k1": 40}, {"ada": 40}, {"staff": 40, "lab": 7}))
    ledger.open_entry(ACaller(), 1, 0.0).settle(100, 0)
    lab = (GroupSpec("lab"), GroupSpec("staff"))
    ledger.load(catalogue([key()], [UserSpec("ada", "lab")], groups=lab))  # she moves, and what she spent does not
    ledger.open_entry(ACaller(), 1, 0.0).settle(1000, 0)
    pots = tuple(GroupSpec(name, shared=ALL) for name in ("lab", "staff"))
    ledger.load(
        catalogue(
            [key(), key(key_id="k2", user="bob")], [UserSpec("ada", "lab"), UserSpec("bob", "staff")], groups=pots
        )
    )
    for key_id in ("k1", "k2"):
        ledger.open_entry(ACaller(key_id), 1, 0.0).refund()
    assert {one.name: one.spent_tokens for one in ledger.statistics(0.0) if one.owner == "group"} == {
        "lab": 1007,
        "staff": 140,
    }


def test_a_pot_that_is_taken_away_and_comes_back_knows_what_was_spent_meanwhile() -> None:
    ledger = ledger_of(pot=Limits(token_budget=1000))
    ledger.open_entry(ACaller(), 1, 0.0).settle(100, 0)
    staff = [UserSpec("ada", "staff")]
    ledger.load(catalogue([key()], staff, groups=(GroupSpec("staff"),)))
    ledger.open_entry(ACaller(), 1, 0.0).settle(600, 0)
    ledger.load(catalogue([key()], staff, groups=(GroupSpec("staff", shared=Limits(token_budget=1000)),)))
    with pytest.raises(Refused, match="the group's budget of 1000 tokens has 300 left and this may take 301"):
        ledger.open_entry(ACaller(), 301, 0.0)


# Months


def test_a_monthly_budget_is_whole_again_when_a_month_begins_and_a_lifes_is_not() -> None:
    monthly, lifetime = Limits(token_budget=1000, budget_period="monthly"), Limits(token_budget=2000)
    ledger = ledger_of(monthly, lifetime, lifetime=Sums({"k1": 5000}, {"ada": 100}), this_month=Sums({"k1": 400}))
    ledger.open_entry(ACaller(), 1, 0.0).settle(600, 0)
    with pytest.raises(Refused, match="the key's monthly budget of 1000 tokens has 0 left"):
        ledger.open_entry(ACaller(), 1, 0.0)
    ledger.begin_month()
    ledger.open_entry(ACaller(), 1, 0.0).settle(1000, 0)
    ledger.begin_month()
    with pytest.raises(Refused, match="the user's budget of 2000 tokens has 300 left"):
        ledger.open_entry(ACaller(), 301, 0.0)
    assert spent(ledger) == [6600, 1700]


def test_an_account_that_is_made_in_a_later_month_begins_it_with_a_whole_budget() -> None:
    ledger = Ledger(Sums({"k1": 900}), Sums({"k1": 900}))
    ledger.begin_month()
    ledger.load(catalogue([key(Limits(token_budget=1000, budget_period="monthly"))], []))
    ledger.open_entry(ACaller(), 1000, 0.0).refund()


# Models that weigh more


@pytest.mark.parametrize("model", ["dear", "dear:latest"])
def test_budgets_are_charged_by_weight_and_rates_by_tokens(model: str) -> None:
    ledger = ledger_of(Limits(tokens_per_minute=1000, token_budget=1000))
    with ledger.open_entry(ACaller(), 100, 0.0, model) as entry:
        (before, _) = ledger.statistics(0.0)
        assert (before.budget_remaining, before.tokens_remaining) == (750, 900.0)
        assert entry.settle(10, 31) == 41
        assert entry.charged_tokens == 102
    (after, _) = ledger.statistics(0.0)
    assert (after.budget_remaining, after.tokens_remaining, after.spent_tokens) == (898, 959.0, 102)
    with pytest.raises(Refused, match="has 898 left and this may take 900"):
        ledger.open_entry(ACaller(), 360, 0.0, model)


def test_other_models_charge_what_they_use_and_say_nothing_of_it() -> None:
    with ledger_of().open_entry(ACaller(), 100, 0.0, "cheap") as entry:
        entry.settle(1, 1)
    assert entry.charged_tokens is None


# Shadow


def test_what_a_limit_forbids_is_counted_in_shadow_and_holds_nothing() -> None:
    ledger = ledger_of(Limits(requests_per_minute=1, token_budget=1000))
    ledger.open_entry(ACaller(), 100, 0.0).settle(50, 50)
    with pytest.raises(Refused):
        ledger.open_entry(ACaller(), 100, 0.0)
    entry = ledger.open_in_shadow(ACaller(), 100, "dear")
    assert is_balanced(ledger)
    assert entry.settle(10, 10) == 20
    assert (spent(ledger), entry.charged_tokens) == ([150, 150], 50)
    (statistics, _) = ledger.statistics(0.0)
    assert statistics.requests_remaining == 0.0
    ledger.open_in_shadow(ACaller(), 100).refund()
    assert spent(ledger) == [150, 150]


# All of it

some_limits = st.builds(
    Limits,
    requests_per_minute=st.none() | st.integers(0, 20),
    tokens_per_minute=st.none() | st.integers(0, 2000),
    concurrent_requests=st.none() | st.integers(0, 5),
    token_budget=st.none() | st.integers(0, 5000),
    budget_period=st.sampled_from(["lifetime", "monthly"]),
)
actions = st.tuples(
    st.sampled_from(["settle", "refund", "late", "leave open", "month"]),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.sampled_from(["plain", "dear"]),
)


@settings(max_examples=60)
@given(some_limits, some_limits, some_limits, st.lists(actions, max_size=20))
def test_reserve_minus_settle_minus_refund_is_zero_with_pots_weights_months_and_shadows(
    key_limits: Limits, user_limits: Limits, pot: Limits, wanted: list[tuple[str, int, int, str]]
) -> None:
    ledger = ledger_of(key_limits, user_limits, pot)
    opened, charged = [], 0
    for number, (action, estimate, truth, model) in enumerate(wanted):
        if action == "month":
            ledger.begin_month()
            continue
        try:
            entry = ledger.open_entry(ACaller(), estimate, float(number), model)
        except Refused:
            entry = ledger.open_in_shadow(ACaller(), estimate, model)
        opened.append((entry, action, truth, model))
    for entry, action, truth, model in opened:
        if action == "late":
            entry = entry.hand_over()
        if action in ("settle", "late"):
            assert entry.settle(truth, 0) == truth
            charged += round(truth * 2.5) if model == "dear" else truth
        entry.refund()
    assert is_balanced(ledger)
    assert set(spent(ledger)) == {charged}
