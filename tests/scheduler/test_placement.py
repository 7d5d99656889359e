"""Pure. Where a job goes under each policy."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.scheduler.placement import Affinity, Latency, LeastLoad, Metrics, Placement, RoundRobin, placement_policy
from tests.scheduler.fakes import FakeBackend as Backend

POLICIES = ["least_load", "latency", "metrics", "round_robin", "affinity"]


def chosen(policy: Placement, candidates: Sequence[Backend], times: int = 1, key: int = 0) -> list[str]:
    """The names chosen in a row; nothing is taken."""
    return [choice.name for _ in range(times) if (choice := policy.choose(candidates, "m", key)) is not None]


def test_an_unknown_policy_is_named():
    with pytest.raises(ValueError, match=r"'fastest'.*least_load, latency, metrics, round_robin, affinity"):
        placement_policy("fastest")


@pytest.mark.parametrize("name", POLICIES)
def test_nowhere_to_go_is_none(name: str):
    policy = placement_policy(name)
    assert policy.choose([], "m", 7) is None
    assert policy.choose([Backend(in_flight=1)], "m", 7) is None
    assert policy.choose([Backend("a", in_flight=1), Backend("b", 2, in_flight=2)], "m", 7) is None


BACKENDS = st.lists(
    st.builds(
        Backend,
        name=st.uuids().map(str),
        max_concurrent=st.integers(1, 4),
        in_flight=st.integers(0, 4),
        ttft_seconds=st.floats(0, 100),
        failure_ewma=st.floats(0, 1),
        resident=st.sampled_from([frozenset(), frozenset({"m"})]),
        gpu_utilisation=st.none() | st.floats(0, 1),
        cpu_percent=st.none() | st.floats(0, 100),
        memory_percent=st.none() | st.floats(0, 100),
    ),
    max_size=6,
)


@pytest.mark.parametrize("name", POLICIES)
@given(candidates=BACKENDS, key=st.integers(0, 2**64 - 1))
def test_a_free_slot_is_found_exactly_if_there_is_one(name: str, candidates: list[Backend], key: int):
    choice = placement_policy(name).choose(candidates, "m", key)
    free = [candidate for candidate in candidates if candidate.in_flight < candidate.max_concurrent]
    assert (choice is None) == (not free)
    assert choice is None or choice in free


@pytest.mark.parametrize("name", POLICIES)
def test_a_backend_that_fails_fast_attracts_nothing_while_another_is_free(name: str):
    failing = Backend("failing", 8, failure_ewma=0.9, ttft_seconds=0.001, cpu_percent=1, memory_percent=1)
    busy = Backend("busy", 8, in_flight=7, ttft_seconds=2.0, cpu_percent=70, memory_percent=70, gpu_utilisation=1.0)
    policy = placement_policy(name)
    assert {name for key in range(50) for name in chosen(policy, [failing, busy], key=key)} == {"busy"}
    busy.in_flight = 8
    assert chosen(policy, [failing, busy]) == ["failing"]


class TestLeastLoad:
    def test_the_emptier_by_share_of_its_slots(self):
        assert chosen(LeastLoad(), [Backend("small", 2, 1), Backend("large", 10, 4)]) == ["large"]

    def test_a_loaded_model_before_an_idle_backend(self):
        assert chosen(LeastLoad(), [Backend("cold", 8, resident=frozenset()), Backend("warm", 8, 6)]) == ["warm"]

    def test_the_less_busy_gpu(self):
        busy, calm = Backend("busy", 4, gpu_utilisation=0.9), Backend("calm", 4, gpu_utilisation=0.1)
        assert chosen(LeastLoad(), [busy, calm]) == ["calm"]

    def test_the_quicker_to_its_first_token(self):
        assert chosen(LeastLoad(), [Backend("slow", 4, ttft_seconds=3), Backend("quick", 4, ttft_seconds=0.2)]) == [
            "quick"
        ]

    def test_ties_go_round(self):
        equals = [Backend(name, 4) for name in "abc"]
        assert Counter(chosen(LeastLoad(), equals, times=9)) == {"a": 3, "b": 3, "c": 3}


class TestLatency:
    def test_the_quicker_unless_it_is_that_much_busier(self):
        quick, slow = Backend("quick", 8, ttft_seconds=0.2), Backend("slow", 8, ttft_seconds=0.5)
        assert chosen(Latency(), [quick, slow]) == ["quick"]
        quick.in_flight = 4
        assert chosen(Latency(), [quick, slow]) == ["slow"]

    def test_an_unknown_one_is_tried_while_idle_and_then_waited_for(self):
        known, unknown = Backend("known", 8, ttft_seconds=0.5), Backend("unknown", 8)
        assert chosen(Latency(), [known, unknown]) == ["unknown"]
        unknown.in_flight = 1
        assert chosen(Latency(), [known, unknown]) == ["known"]


class TestMetrics:
    def test_the_smallest_sum_of_cpu_memory_and_ten_per_active(self):
        one = Backend("one", 8, in_flight=3, cpu_percent=10, memory_percent=20)  # 60
        two = Backend("two", 8, in_flight=0, cpu_percent=30, memory_percent=40)  # 70
        assert chosen(Metrics(), [one, two]) == ["one"]
        one.in_flight = 5
        assert chosen(Metrics(), [one, two]) == ["two"]

    def test_round_robin_when_all_are_above_eighty(self):
        busy = [Backend(name, 8, cpu_percent=90, memory_percent=rank) for rank, name in enumerate("abc")]
        assert chosen(Metrics(), busy, times=6) == list("abcabc")

    def test_who_does_not_report_is_neither_idle_nor_busy(self):
        silent = Backend("silent", 8)
        idle, busy = (
            Backend("idle", 8, cpu_percent=5, memory_percent=5),
            Backend("busy", 8, cpu_percent=79, memory_percent=79),
        )
        assert chosen(Metrics(), [silent, idle]) == ["idle"]
        assert chosen(Metrics(), [silent, busy]) == ["silent"]


class TestRoundRobin:
    def test_each_in_turn_and_the_full_are_skipped(self):
        three = [Backend(name, 4) for name in "abc"]
        assert chosen(RoundRobin(), three, times=4) == list("abca")
        three[1].in_flight = 4
        assert chosen(RoundRobin(), three, times=4) == list("acac")

    def test_models_take_turns_by_themselves(self):
        policy, two = RoundRobin(), [Backend(name, 4) for name in "ab"]
        assert policy.choose(two, "x", 0) is policy.choose(two, "y", 0) is two[0]


class TestAffinity:
    FOUR = tuple(Backend(name, 8) for name in "abcd")

    def test_the_same_key_goes_to_the_same_backend_in_every_process(self):
        assert len({tuple(chosen(Affinity(), self.FOUR, key=99)) for _ in range(5)}) == 1
        assert [chosen(Affinity(), self.FOUR, key=key)[0] for key in (1, 2, 3, 4, 5, 6)] == list("bbdaaa")

    def test_keys_spread_over_all(self):
        counts = Counter(chosen(Affinity(), self.FOUR, key=key)[0] for key in range(1, 4001))
        assert all(850 < counts[name] < 1150 for name in "abcd")

    def test_only_the_keys_of_a_backend_that_left_move(self):
        for key in range(1, 200):
            before = chosen(Affinity(), self.FOUR, key=key)[0]
            after = chosen(Affinity(), self.FOUR[1:], key=key)[0]
            assert after == before or before == "a"

    def test_a_hot_key_spills_over_before_its_backend_is_overloaded(self):
        four = [Backend(name, 8) for name in "abcd"]
        for _ in range(16):
            choice = Affinity().choose(four, "m", 42)
            choice.take()
        assert max(backend.in_flight for backend in four) <= 5  # 1.25 x the mean of 4
        assert sum(backend.in_flight for backend in four) == 16

    def test_without_a_key_the_least_loaded(self):
        assert chosen(Affinity(), [Backend("busy", 8, 4), Backend("idle", 8)]) == ["idle"]
