"""Everything that is said reaches everybody once it can, whatever is lost on the way."""

from hypothesis import given
from hypothesis import strategies as st

from mrproxy.link.shares import Mailbox, Report, Share


class Listener:
    """A worker that takes down what it hears, and reports as `SharedLedger` does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.number = 0
        self.own: dict[str, Share] = {}
        self.touched: set[str] = set()
        self.heard: dict[str, tuple[int, dict[str, Share]]] = {}
        self.gone: set[str] = set()

    def take(self, account: str, requests: int) -> None:
        self.own[account] = Share(self.own.get(account, Share()).requests + requests)
        self.touched.add(account)

    def exchange(self, parcel) -> Report:
        for name, bundle in parcel.others.items():
            epoch, shares = self.heard.get(name, (0, {}))
            self.heard[name] = bundle.epoch, (shares if epoch == bundle.epoch else {}) | bundle.shares
            (self.gone.add if bundle.is_gone else self.gone.discard)(name)
        names = self.touched if parcel.acknowledged == self.number else set(self.own)
        self.number += bool(names)
        self.touched = set()
        return Report(self.epoch, self.number, {name: self.own[name] for name in names})


def deliver(mailbox: Mailbox, name: str, listener: Listener) -> None:
    parcel = mailbox.parcel_for(name)
    mailbox.delivered(name, parcel, listener.exchange(parcel))


def test_news_of_one_are_told_to_the_others_and_silence_costs_nothing():
    mailbox, one, two = Mailbox(), Listener(1), Listener(2)
    one.take("a", 3)
    for _ in range(2):
        deliver(mailbox, "one", one)
        deliver(mailbox, "two", two)
    assert two.heard["one"] == (1, {"a": Share(3)})
    assert mailbox.parcel_for("one").others == mailbox.parcel_for("two").others == {}
    one.take("b", 1)
    deliver(mailbox, "one", one)
    assert mailbox.parcel_for("two").others["one"].shares == {"b": Share(1)}


def test_one_that_is_gone_is_told_so_and_told_anew_when_it_comes_back():
    mailbox, one, two = Mailbox(), Listener(1), Listener(2)
    one.take("a", 3)
    deliver(mailbox, "one", one)
    deliver(mailbox, "two", two)
    mailbox.gone("one")
    mailbox.gone("nobody")
    deliver(mailbox, "two", two)
    assert two.gone == {"one"}
    deliver(mailbox, "one", one)
    assert mailbox.parcel_for("two").others["one"].shares == {"a": Share(3)}


names = st.sampled_from(["one", "two", "three"])
events = st.one_of(
    st.tuples(st.just("take"), names, st.sampled_from("abc"), st.integers(1, 9)),
    st.tuples(st.just("deliver"), names),
    st.tuples(st.just("lose answer"), names),
    st.tuples(st.just("restart"), names),
    st.tuples(st.just("gone"), names),
    st.tuples(st.just("forget")),
)


@given(st.lists(events, max_size=40))
def test_after_any_losses_and_restarts_all_know_all_of_the_living(happenings: list[tuple]):
    mailbox = Mailbox()
    workers = {name: Listener(number) for number, name in enumerate(("one", "two", "three"), 1)}
    for time, (kind, *rest) in enumerate(happenings, 10):
        match kind:
            case "take":
                workers[rest[0]].take(rest[1], rest[2])
            case "deliver":
                deliver(mailbox, rest[0], workers[rest[0]])
            case "lose answer":
                workers[rest[0]].exchange(mailbox.parcel_for(rest[0]))
            case "restart":
                workers[rest[0]] = Listener(time)
            case "gone":
                mailbox.gone(rest[0])
            case "forget":
                mailbox = Mailbox()
    for _ in range(3):
        for name, worker in workers.items():
            deliver(mailbox, name, worker)
    for name, worker in workers.items():
        for other_name, other in workers.items():
            if other_name != name and (other.own or other_name in worker.heard):
                assert worker.heard[other_name] == (other.epoch, other.own)
                assert other_name not in worker.gone
        assert mailbox.parcel_for(name).others == {}
