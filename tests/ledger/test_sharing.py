"""Workers that tell each other what they took agree in the end, and never give more than the bound says."""

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.errors import Code, Refused
from mrproxy.ledger.entry import Entry
from mrproxy.ledger.sharing import SharedLedger
from mrproxy.ledger.sums import Sums
from mrproxy.link.catalogue import catalogue_from
from mrproxy.link.shares import Bundle, Mailbox, Parcel, Share
from mrproxy.link.snapshot import GroupSpec, KeySpec, Limits, ModelSpec, Snapshot, UserSpec


@dataclass(frozen=True)
class ACaller:
    key_id: str = "k1"

    @property
    def digest(self) -> bytes:
        return self.key_id.encode()


def snapshot(limits: Limits) -> Snapshot:
    return Snapshot(
        generation=1,
        created_utc=0.0,
        groups=(GroupSpec("staff", shared=limits),),
        users=(UserSpec("ada", "staff", limits=limits),),
        keys=tuple(KeySpec(name, name, name.encode().hex(), "ada", limits=limits) for name in ("k1", "k2")),
        models=(ModelSpec("heavy", 3.0),),
    )


@dataclass
class Workers:
    """Some workers without processes, and the mailbox between them. `charged` is what the journal would say."""

    limits: Limits
    count: int = 2
    mailbox: Mailbox = field(default_factory=Mailbox)
    ledgers: list[SharedLedger] = field(default_factory=list)
    open: list[list[tuple[Entry, int]]] = field(default_factory=list)
    charged: Sums = field(default_factory=Sums)
    epochs: int = 0

    def __post_init__(self) -> None:
        for _ in range(self.count):
            self.ledgers.append(self.new())
            self.open.append([])
        self.meet_all()

    def new(self) -> SharedLedger:
        self.epochs += 1
        charged = self.charged
        lifetime = Sums(dict(charged.by_key_id), dict(charged.by_user), dict(charged.by_group))
        ledger = SharedLedger(self.epochs, lifetime)
        ledger.load(catalogue_from(snapshot(self.limits)))
        return ledger

    def begin(self, worker: int, tokens: int, key: str = "k1", model: str = "") -> bool:
        try:
            entry = self.ledgers[worker].open_entry(ACaller(key), tokens, 0.0, model)
        except Refused:
            return False
        self.open[worker].append((entry, key))
        return True

    def end(self, worker: int, truth: int | None) -> None:
        if self.open[worker]:
            entry, key = self.open[worker].pop(0)
            if truth is None:
                entry.refund()
                return
            tokens = entry.settle(truth, 0)
            tokens = tokens if entry.charged_tokens is None else entry.charged_tokens
            for sums, name in (
                (self.charged.by_key_id, key),
                (self.charged.by_user, "ada"),
                (self.charged.by_group, "staff"),
            ):
                sums[name] = sums.get(name, 0) + tokens

    def meet(self, worker: int) -> None:
        parcel = self.mailbox.parcel_for(str(worker))
        self.mailbox.delivered(str(worker), parcel, self.ledgers[worker].exchange(parcel, 0.0))

    def meet_all(self) -> None:
        for _ in range(3):
            for worker in range(self.count):
                self.meet(worker)


AMPLE = Limits(10_000, 10_000_000, 1000, 10_000_000)


def test_what_one_takes_is_taken_at_the_other():
    workers = Workers(Limits(10, 1000, 3, 5000))
    assert workers.begin(0, 100)
    workers.meet_all()
    (key, *_) = workers.ledgers[1].statistics(0.0)
    assert (key.requests_remaining, key.tokens_remaining, key.budget_remaining) == (9.0, 900.0, 4900)
    assert workers.begin(1, 100)
    assert workers.begin(1, 100)
    assert not workers.begin(1, 100)  # with the one elsewhere there are three
    workers.end(0, 40)
    workers.meet_all()
    (key, *_) = workers.ledgers[1].statistics(0.0)
    assert (key.requests_remaining, key.tokens_remaining, key.spent_tokens) == (7.0, 760.0, 40)
    assert workers.begin(1, 100)


def test_a_key_that_the_other_has_not_heard_of_is_passed_over_until_it_has():
    ledger = SharedLedger(5)
    ledger.exchange(Parcel(0, {"w2": Bundle(9, {"key#6b31": Share(1, 10, 10)})}), 0.0)
    ledger.load(catalogue_from(snapshot(AMPLE)))
    ledger.exchange(Parcel(0, {"w2": Bundle(9, {"key#6b31": Share(2, 30, 30)})}), 0.0)
    (key, *_) = ledger.statistics(0.0)
    assert key.spent_tokens == 30


def test_what_an_older_worker_had_taken_before_is_in_the_journal_already():
    ledger = SharedLedger(5, Sums({"k1": 30}))
    ledger.load(catalogue_from(snapshot(AMPLE)))
    for share in (Share(2, 30, 30, 1, 7), Share(3, 50, 50, 0, 0)):
        ledger.exchange(Parcel(0, {"w2": Bundle(4, {"key#6b31": share})}), 0.0)
        (key, *_) = ledger.statistics(0.0)
    assert key.spent_tokens == 50


def test_a_worker_that_is_gone_holds_nothing():
    workers = Workers(Limits(concurrent_requests=1))
    assert workers.begin(0, 1)
    workers.meet_all()
    assert not workers.begin(1, 1)
    workers.mailbox.gone("0")
    workers.meet(1)
    assert workers.begin(1, 1)


events = st.one_of(
    st.tuples(st.just("begin"), st.integers(0, 2), st.integers(0, 500), st.sampled_from(["k1", "k2"]), st.booleans()),
    st.tuples(st.just("end"), st.integers(0, 2), st.none() | st.integers(0, 900)),
    st.tuples(st.just("meet"), st.integers(0, 2)),
    st.tuples(st.just("lose"), st.integers(0, 2)),
    st.tuples(st.just("control restarts")),
    st.tuples(st.just("worker restarts"), st.integers(0, 2)),
)


@given(st.lists(events, max_size=40))
def test_in_the_end_all_agree_with_the_journal_whatever_was_lost(happenings: list[tuple]):
    workers = Workers(AMPLE, 3)
    for kind, *rest in happenings:
        match kind:
            case "begin":
                worker, tokens, key, is_heavy = rest
                assert workers.begin(worker, tokens, key, "heavy" if is_heavy else "")
            case "end":
                workers.end(rest[0], rest[1])
            case "meet":
                workers.meet(rest[0])
            case "lose":
                workers.ledgers[rest[0]].exchange(workers.mailbox.parcel_for(str(rest[0])), 0.0)
            case "control restarts":
                workers.mailbox = Mailbox()
            case "worker restarts":  # at a quiet moment: what was not told dies with it, and is in the journal only
                workers.meet_all()
                workers.open[rest[0]] = []
                workers.ledgers[rest[0]] = workers.new()
                workers.meet_all()
    for worker in range(3):
        while workers.open[worker]:
            workers.end(worker, 10)
    workers.meet_all()
    for ledger in workers.ledgers:
        for account in ledger.statistics(0.0):
            sums = {
                "key": workers.charged.by_key_id,
                "user": workers.charged.by_user,
                "group": workers.charged.by_group,
            }
            assert account.spent_tokens == sums[account.owner].get(account.name, 0)
            assert (account.in_flight, account.reserved_tokens) == (0, 0)
            assert account.budget_remaining == AMPLE.token_budget - account.spent_tokens


@pytest.mark.parametrize("count", [2, 4])
@given(
    limits=st.builds(Limits, st.integers(1, 20), st.none(), st.integers(1, 20), st.none()),
    rounds=st.lists(st.lists(st.integers(0, 3), max_size=30), max_size=6),
)
def test_no_limit_is_passed_by_more_than_the_others_take_between_two_rounds(
    count: int, limits: Limits, rounds: list[list[int]]
):
    """Requests that do not end, at one moment: after each round all have heard all."""
    workers = Workers(limits, count)
    admitted, most_between = 0, 0
    for arrivals in rounds:
        taken = [0] * count
        for number in arrivals:
            taken[number % count] += workers.begin(number % count, 1)
        admitted += sum(taken)
        most_between = max(most_between, sum(taken) - max(taken))
        workers.meet_all()
    limit = min(limits.requests_per_minute or math.inf, limits.concurrent_requests or math.inf)
    assert admitted <= limit + min((count - 1) * limit, most_between)


def test_a_refusal_is_told_with_the_limit_itself_and_not_with_what_others_left_of_it():
    workers = Workers(Limits(concurrent_requests=1))
    workers.begin(0, 1)
    workers.meet_all()
    with pytest.raises(Refused, match="may have 1 requests in flight at once") as refused:
        workers.ledgers[1].open_entry(ACaller(), 1, 0.0)
    assert refused.value.code is Code.CONCURRENCY_LIMIT
