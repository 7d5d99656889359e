"""Pure. Weighted deficit round robin: against a ring that is really walked, and its bookkeeping."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.scheduler.job import Job
from mrproxy.scheduler.wdrr import Wdrr
from tests.scheduler.walked_ring import WalkedRing


def job(flow: str = "u", cost: int = 100, weight: int = 1, model: str = "m") -> Job:
    return Job(flow, weight, model, cost, 0.0)


def submit(subject: Wdrr, *jobs: Job) -> None:
    for waiting in jobs:
        subject.submit(waiting)


def drain(subject: Wdrr, model: str = "m") -> list[Job]:
    jobs = []
    while (granted := subject.next_job(model)) is not None:
        jobs.append(granted)
    return jobs


def flows(jobs: list[Job]) -> str:
    return "".join(granted.flow_id for granted in jobs)


def deficit(subject: Wdrr, flow_id: str) -> int:
    (queue,) = subject.statistics()
    return next(flow.deficit_tokens for flow in queue.flows if flow.flow_id == flow_id)


def test_an_empty_queue_has_no_next_job():
    assert Wdrr(1000, 0).next_job("m") is None


def test_one_flow_is_served_in_its_own_order():
    subject = Wdrr(1000, 0)
    jobs = [job(cost=cost) for cost in (900, 10, 4000)]
    submit(subject, *jobs)
    assert drain(subject) == jobs


def test_a_visit_sends_weight_times_quantum_tokens():
    subject = Wdrr(100, 0)
    submit(subject, *(job("a", 100, weight=3) for _ in range(6)), *(job("b", 100, weight=1) for _ in range(2)))
    assert flows(drain(subject)) == "aaabaaab"


def test_tokens_are_shared_and_not_requests():
    subject = Wdrr(100, 0)
    submit(subject, *(job("a", 400) for _ in range(5)), *(job("b", 100) for _ in range(20)))
    first = [subject.next_job("m") for _ in range(15)]
    tokens = {flow: sum(j.cost_tokens for j in first if j.flow_id == flow) for flow in "ab"}
    assert tokens == {"a": 1200, "b": 1200}


def test_a_job_much_larger_than_the_quantum_is_reached_without_walking_empty_rounds():
    subject = Wdrr(1, 0)
    submit(subject, job("a", 10**15), job("b", 10**15 + 1))
    assert flows(drain(subject)) == "ab"


def test_a_newcomer_is_served_within_the_round():
    subject = Wdrr(100, 0)
    submit(subject, *(job("a", 100) for _ in range(50)), *(job("b", 100) for _ in range(50)))
    assert flows([subject.next_job("m") for _ in range(10)]) == "ababababab"
    subject.submit(job("c", 100))
    assert "c" in flows([subject.next_job("m") for _ in range(3)])


def test_leaving_and_coming_back_earns_no_second_visit_in_a_round():
    subject = Wdrr(100, 0)
    submit(subject, *(job("a", 100) for _ in range(50)))
    served = []
    for _ in range(10):
        subject.submit(job("b", 100))
        served.append(subject.next_job("m"))
        served.append(subject.next_job("m"))
    assert flows(served).count("b") == 10


def test_models_have_rings_of_their_own():
    subject = Wdrr(1000, 0)
    submit(subject, job("a", model="x"), job("a", model="y"))
    assert (subject.waiting("x"), subject.waiting("y"), subject.waiting("z"), subject.waiting_total) == (1, 1, 0, 2)
    assert subject.waiting_of_flow("a") == 2
    assert len(drain(subject, "x")) == 1
    assert subject.waiting_of_flow("a") == subject.waiting("y") == 1


def test_a_cancelled_job_is_never_served_and_can_be_cancelled_once():
    subject = Wdrr(1000, 0)
    first, second, third = job(), job(), job()
    submit(subject, first, second, third)
    assert [subject.cancel(second), subject.cancel(second)] == [True, False]
    assert drain(subject) == [first, third]
    assert not subject.cancel(first)
    assert not subject.cancel(job())


def test_cancelling_the_dear_head_lets_the_cheap_one_go_in_its_round():
    subject = Wdrr(100, 0)
    dear = job("a", 10_000)
    submit(subject, dear, job("a", 100), job("b", 500))
    subject.cancel(dear)
    assert flows(drain(subject)) == "ab"


def test_cancelling_everything_leaves_the_ring_empty():
    subject = Wdrr(1000, 0)
    jobs = [job() for _ in range(3)]
    submit(subject, *jobs)
    for waiting in jobs:
        subject.cancel(waiting)
    assert (subject.waiting_total, subject.waiting("m"), subject.waiting_of_flow("u")) == (0, 0, 0)
    assert subject.statistics() == ()
    assert subject.next_job("m") is None


def test_memory_of_cancelled_jobs_is_bounded():
    subject = Wdrr(1000, 0)
    submit(subject, job())
    for _ in range(1000):
        waiting = job()
        subject.submit(waiting)
        subject.cancel(waiting)
    assert len(subject._rings["m"].flows["u"].queue) < 100


def test_memory_of_stale_heap_entries_is_bounded():
    subject = Wdrr(10, 0)
    submit(subject, *(job(f"u{n}", 50) for n in range(10)))
    for n in range(5000):
        waiting = job("v", 100 + n)
        subject.submit(waiting)
        subject.cancel(waiting)
    assert len(subject._rings["m"]._heap) < 200


def test_idle_accounts_that_owe_nothing_are_forgotten_in_time():
    subject = Wdrr(1000, 1000)
    for n in range(10_000):
        granted = job(f"u{n}")
        subject.grant_immediate(granted)
        subject.settle(granted, 100)
    assert len(subject._rings["m"].flows) <= 1024


def test_an_account_in_debt_or_in_flight_is_not_forgotten():
    subject = Wdrr(1000, 1000)
    held = job("held")
    subject.grant_immediate(held)
    submit(subject, job("debtor"))
    debtor = subject.next_job("m")
    subject.settle(debtor, 5000)
    for n in range(5000):
        granted = job(f"u{n}")
        subject.grant_immediate(granted)
        subject.settle(granted, None)
    assert {"held", "debtor"} <= subject._rings["m"].flows.keys()


def test_settling_charges_the_difference_and_gives_it_back():
    subject = Wdrr(1000, 0)
    submit(subject, *(job("a", 600) for _ in range(3)))
    granted = subject.next_job("m")
    assert deficit(subject, "a") == 400
    subject.settle(granted, 650)
    assert deficit(subject, "a") == 350
    second = subject.next_job("m")
    assert deficit(subject, "a") == 750
    subject.settle(second, 0)
    assert deficit(subject, "a") == 1350


def test_a_job_whose_truth_is_not_known_is_charged_its_estimate():
    subject = Wdrr(1000, 0)
    submit(subject, job("a", 600), job("a", 600))
    subject.settle(subject.next_job("m"), None)
    assert deficit(subject, "a") == 400


def test_a_flow_given_back_its_charge_is_served_without_a_new_visit():
    subject = Wdrr(100, 0)
    submit(subject, *(job("a", 100) for _ in range(3)), *(job("b", 100) for _ in range(3)))
    first = subject.next_job("m")
    subject.settle(first, 0)  # it failed: nothing was used
    assert flows(drain(subject)) == "ababb"


def test_a_flow_that_ran_over_its_estimate_waits_for_it():
    subject = Wdrr(100, 0)
    submit(subject, *(job("a", 100) for _ in range(2)), *(job("b", 100) for _ in range(4)))
    subject.settle(subject.next_job("m"), 300)
    assert flows(drain(subject)) == "bbbab"


def test_settling_what_was_never_granted_is_a_bug():
    with pytest.raises(ValueError, match="never granted"):
        Wdrr(1000, 0).settle(job(), 1)


def test_unused_share_is_banked_up_to_the_cap_and_spent_on_return():
    subject = Wdrr(100, 300)
    submit(subject, job("b", 100), *(job("a", 100) for _ in range(50)))
    for _ in range(20):
        subject.next_job("m")  # b goes idle in the first round; a has the rest to itself
    submit(subject, *(job("b", 100) for _ in range(10)))
    assert flows([subject.next_job("m") for _ in range(8)]) == "bbbbabab"


def test_nothing_is_banked_while_nobody_waits():
    subject = Wdrr(100, 300)
    submit(subject, job("b", 100), job("a", 100))
    drain(subject)
    submit(subject, *(job("a", 100) for _ in range(5)), *(job("b", 100) for _ in range(5)))
    assert flows([subject.next_job("m") for _ in range(6)]) == "bababa"


def test_without_a_cap_nothing_is_banked_or_owed():
    subject = Wdrr(100, 0)
    held = [job("a", 100) for _ in range(10)]
    for granted in held:
        subject.grant_immediate(granted)
    submit(subject, *(job("a", 100) for _ in range(3)), *(job("b", 100) for _ in range(3)))
    assert flows(drain(subject)) == "ababab"


def test_a_newcomer_has_banked_nothing():
    subject = Wdrr(100, 10_000)
    submit(subject, *(job("a", 100) for _ in range(50)))
    for _ in range(20):
        subject.next_job("m")
    submit(subject, *(job("new", 100) for _ in range(20)))
    assert flows([subject.next_job("m") for _ in range(6)]).count("new") == 3


def test_what_a_flow_holds_by_immediate_grants_is_charged_when_it_joins_the_queue():
    subject = Wdrr(100, 1000)
    for _ in range(3):
        subject.grant_immediate(job("heavy", 100))
    submit(subject, *(job("heavy", 100) for _ in range(5)), *(job("light", 100) for _ in range(5)))
    served = [granted.flow_id for granted in drain(subject)]
    assert served[:5] == ["light"] * 3 + ["heavy", "light"]


def test_the_debt_of_immediate_grants_is_bounded_by_the_cap():
    subject = Wdrr(100, 200)
    for _ in range(50):
        subject.grant_immediate(job("heavy", 100))
    submit(subject, *(job("heavy", 100) for _ in range(5)))
    assert deficit(subject, "heavy") == -200


def test_immediate_grants_that_have_ended_are_forgotten():
    subject = Wdrr(100, 1000)
    for _ in range(50):
        granted = job("heavy", 100)
        subject.grant_immediate(granted)
        subject.settle(granted, 100)
    submit(subject, job("heavy", 100))
    assert deficit(subject, "heavy") == 0


def test_an_immediate_grant_is_charged_once():
    subject = Wdrr(100, 1000)
    held = job("heavy", 300)
    subject.grant_immediate(held)
    submit(subject, job("heavy", 100))
    assert deficit(subject, "heavy") == -300
    subject.settle(held, 0)
    assert deficit(subject, "heavy") == -300  # charged by its estimate, and not corrected: docs/scheduler.md


def test_a_charged_grant_that_ends_leaves_later_immediate_grants_uncharged():
    subject = Wdrr(100, 1000)
    held = job("heavy", 300)
    subject.grant_immediate(held)
    submit(subject, job("heavy", 100))
    subject.settle(subject.next_job("m"), 100)
    subject.grant_immediate(job("heavy", 200))
    subject.settle(held, 300)
    submit(subject, job("heavy", 100))
    assert deficit(subject, "heavy") == -200


def test_a_new_weight_applies_at_once():
    subject = Wdrr(100, 0)
    submit(subject, *(job("a", 100) for _ in range(10)), *(job("b", 100) for _ in range(10)))
    assert flows([subject.next_job("m") for _ in range(2)]) == "ab"
    subject.submit(job("b", 100, weight=3))
    assert flows([subject.next_job("m") for _ in range(8)]) == "abbbabbb"


def test_statistics_name_the_waiting_flows_in_ring_order():
    subject = Wdrr(1000, 0)
    submit(subject, job("b", weight=2), job("a"), job("b", weight=2))
    (queue,) = subject.statistics()
    assert (queue.model, queue.waiting) == ("m", 3)
    assert [(flow.flow_id, flow.weight, flow.waiting, flow.in_flight) for flow in queue.flows] == [
        ("b", 2, 2, 0),
        ("a", 1, 1, 0),
    ]


@pytest.mark.parametrize(("quantum", "cap"), [(0, 0), (1, -1)])
def test_impossible_settings_are_refused(quantum: int, cap: int):
    with pytest.raises(ValueError, match="at least"):
        Wdrr(quantum, cap)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 4), st.integers(1, 50)),
        st.tuples(st.just("next"), st.just(0), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("settle"), st.integers(0, 30), st.integers(0, 60)),
    ),
    max_size=120,
)


@given(STEPS, st.lists(st.integers(1, 5), min_size=5, max_size=5), st.integers(1, 20), st.integers(0, 40))
def test_it_serves_what_a_ring_that_is_really_walked_serves(steps, weights, quantum, cap):
    subject, oracle = Wdrr(quantum, cap), WalkedRing(quantum, cap)
    waiting: list[Job] = []
    granted: list[Job] = []
    for step, number, tokens in steps:
        if step == "submit":
            waiting.append(job(f"u{number}", tokens, weights[number]))
            subject.submit(waiting[-1])
            oracle.submit(waiting[-1])
        elif step == "next":
            chosen = subject.next_job("m")
            assert chosen is oracle.next_job()
            if chosen is not None:
                waiting.remove(chosen)
                granted.append(chosen)
        elif step == "cancel" and waiting:
            gone = waiting.pop(number % len(waiting))
            subject.cancel(gone)
            oracle.cancel(gone)
        elif step == "settle" and granted:
            ended = granted.pop(number % len(granted))
            subject.settle(ended, tokens)
            oracle.settle(ended, tokens)
        assert subject.waiting_total == subject.waiting("m") == len(waiting)
    assert drain(subject) == oracle.drain()
