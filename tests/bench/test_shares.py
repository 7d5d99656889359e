from hypothesis import given
from hypothesis import strategies as st

from bench.shares import ServiceLog, documented_bound
from mrproxy.scheduler.bound import completion_bound

WEIGHTS = {"a": 3, "b": 2, "c": 1}


def log_of(*events):
    return ServiceLog(dict(WEIGHTS), [(index, caller, tokens) for index, (caller, tokens) in enumerate(events)])


def test_shares_by_weight_are_perfectly_fair():
    log = log_of(("a", 300), ("b", 200), ("c", 100))
    assert log.shares() == log.expected_shares()
    assert log.jain() == 1.0
    assert log.total_tokens == 600


def test_jain_is_one_over_n_when_one_has_everything():
    assert abs(log_of(("a", 100)).jain() - 1 / 3) < 1e-9
    assert log_of().jain() == 1.0


def test_a_log_is_cut_by_time():
    log = log_of(("a", 1), ("b", 2), ("c", 4))
    assert log.between(1, 2).service == {"a": 0, "b": 2, "c": 0}


def slow_max_difference(log):
    """Over every interval, by definition."""
    largest = 0.0
    for start in range(len(log.events)):
        for end in range(start, len(log.events) + 1):
            part = ServiceLog(log.weights, log.events[start:end]).service
            normal = [part[caller] / weight for caller, weight in log.weights.items()]
            largest = max(largest, max(normal) - min(normal))
    return largest


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 100)), max_size=25))
def test_one_pass_finds_the_largest_difference_over_all_intervals(events):
    log = log_of(*events)
    assert abs(log.max_difference() - slow_max_difference(log)) < 1e-9


@given(st.lists(st.integers(1, 20), min_size=2, max_size=5), st.lists(st.integers(0, 30_000), min_size=5, max_size=5))
def test_the_documented_bound_is_the_schedulers(weights, numbers):
    quantum, charge, cap, slots, error = numbers
    ours = documented_bound(quantum, weights, charge, cap, slots % 100, error)
    theirs = float(completion_bound(quantum, weights, charge, cap, slots % 100, error))
    assert abs(ours - theirs) <= 1e-9 * max(1.0, theirs)
