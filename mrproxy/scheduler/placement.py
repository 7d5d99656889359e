"""Pure. Which backend serves the job, among those that may: five policies behind one `choose`.

Candidates are routable already (healthy, not draining, breaker closed, with the model); full ones are included, for a
policy may want to know the whole. A policy returns one with a free slot, or None. It never takes the slot.

A backend that fails fast looks idle and would attract everything (thushan/olla#144); so every policy makes a failing
backend look worse than a busy one. Whoever keeps `failure_ewma` must let it decay while no traffic comes.
Read next: `grant.py`, which asks.
"""

from collections.abc import Container, Sequence
from typing import Protocol, TypeVar
from zlib import crc32


class Candidate(Protocol):
    """What placement may know of a backend."""

    @property
    def name(self) -> str: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def max_concurrent(self) -> int: ...
    @property
    def ttft_seconds(self) -> float:
        """Peak-EWMA of the time to first token; 0 = unknown."""

    @property
    def failure_ewma(self) -> float:
        """0 (all well) to 1 (every attempt fails)."""

    @property
    def resident(self) -> Container[str]:
        """Models in its memory now."""

    @property
    def gpu_utilisation(self) -> float | None:
        """0 to 1; None = unknown."""

    @property
    def cpu_percent(self) -> float | None: ...
    @property
    def memory_percent(self) -> float | None: ...


C = TypeVar("C", bound=Candidate)


class Placement(Protocol):
    def choose(self, candidates: Sequence[C], model: str, affinity_key: int, /) -> C | None: ...


def placement_policy(name: str) -> Placement:
    """The policy of a setting's value; ValueError if there is none of that name."""
    policies: dict[str, type[LeastLoad | Latency | Metrics | RoundRobin | Affinity]] = {
        "least_load": LeastLoad,
        "latency": Latency,
        "metrics": Metrics,
        "round_robin": RoundRobin,
        "affinity": Affinity,
    }
    if name not in policies:
        raise ValueError(f"unknown placement {name!r}: one of {', '.join(policies)}")
    return policies[name]()


# What each term may add to a score, in units of "all slots taken". A model that must be loaded first is dearer than
# a full queue's worth of load; failure is dearer than everything else together, so the failing are chosen last.
_NOT_RESIDENT = 1.0
_GPU = 0.25
_SLOW = 0.25
_FAILING = 4.0


class LeastLoad:
    """Residency, slots in use, GPU utilisation, time to first token. Ties go round."""

    __slots__ = ("_turn",)

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, candidates: Sequence[C], model: str, _affinity_key: int, /) -> C | None:
        if len(candidates) == 1:
            return _if_free(candidates[0])
        self._turn += 1
        best: C | None = None
        best_score = 0.0
        for candidate in _from_turn(candidates, self._turn):
            if candidate.in_flight < candidate.max_concurrent:
                score = _load_score(candidate, model)
                if best is None or score < best_score:
                    best, best_score = candidate, score
        return best


def _load_score(candidate: Candidate, model: str) -> float:
    ttft_seconds = candidate.ttft_seconds
    score = (candidate.in_flight + 1) / candidate.max_concurrent + _FAILING * candidate.failure_ewma
    score += _SLOW * ttft_seconds / (ttft_seconds + 1.0)  # saturates: one slow prefill does not outweigh free slots
    if model not in candidate.resident:
        score += _NOT_RESIDENT
    gpu_utilisation = candidate.gpu_utilisation
    if gpu_utilisation is not None:
        score += _GPU * gpu_utilisation
    return score


# A failure counts as an answer that took this long: the default first-byte deadline.
_FAILURE_SECONDS = 120.0
# An unknown backend is tried while idle, and then waited for: Finagle's peak-EWMA does the same.
_UNKNOWN_BUSY_SECONDS = 1000.0


class Latency:
    """Smallest peak-EWMA of time to first token × (jobs it would have)."""

    __slots__ = ("_turn",)

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, candidates: Sequence[C], _model: str, _affinity_key: int, /) -> C | None:
        self._turn += 1
        best: C | None = None
        best_seconds = 0.0
        for candidate in _from_turn(candidates, self._turn):
            if candidate.in_flight < candidate.max_concurrent:
                seconds = _expected_seconds(candidate)
                if best is None or seconds < best_seconds:
                    best, best_seconds = candidate, seconds
        return best


def _expected_seconds(candidate: Candidate) -> float:
    failure_seconds = candidate.failure_ewma * _FAILURE_SECONDS
    if candidate.ttft_seconds:
        return (candidate.ttft_seconds + failure_seconds) * (candidate.in_flight + 1)
    if candidate.in_flight:
        return failure_seconds + _UNKNOWN_BUSY_SECONDS + candidate.in_flight
    return failure_seconds


_OVERLOADED_PERCENT = 80.0
_UNKNOWN_PERCENT = 50.0  # neither idle nor busy: no reward for not reporting
_FAILING_POINTS = 400.0


class Metrics:
    """Smallest cpu % + memory % + 10 × active; round robin when all are above 80 %."""

    __slots__ = ("_round_robin", "_turn")

    def __init__(self) -> None:
        self._round_robin = RoundRobin()
        self._turn = 0

    def choose(self, candidates: Sequence[C], model: str, affinity_key: int, /) -> C | None:
        if all(_is_overloaded(candidate) for candidate in candidates):
            return self._round_robin.choose(candidates, model, affinity_key)
        self._turn += 1
        free = [c for c in _from_turn(candidates, self._turn) if c.in_flight < c.max_concurrent]
        return min(free, key=_metric_score, default=None)


def _known(percent: float | None) -> float:
    return _UNKNOWN_PERCENT if percent is None else percent


def _is_overloaded(candidate: Candidate) -> bool:
    return max(_known(candidate.cpu_percent), _known(candidate.memory_percent)) > _OVERLOADED_PERCENT


def _metric_score(candidate: Candidate) -> float:
    busy = _known(candidate.cpu_percent) + _known(candidate.memory_percent) + 10 * candidate.in_flight
    return busy + _FAILING_POINTS * candidate.failure_ewma


_MOSTLY_FAILING = 0.5


class RoundRobin:
    """Each in turn, per model; those that mostly fail only when no other is free."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns: dict[str, int] = {}

    def choose(self, candidates: Sequence[C], model: str, _affinity_key: int, /) -> C | None:
        turn = self._turns.get(model, 0)
        last_resort: tuple[int, C] | None = None
        for step in range(len(candidates)):
            candidate = candidates[(turn + step) % len(candidates)]
            if candidate.in_flight >= candidate.max_concurrent:
                continue
            if candidate.failure_ewma < _MOSTLY_FAILING:
                self._turns[model] = turn + step + 1
                return candidate
            last_resort = last_resort or (step, candidate)
        if last_resort is None:
            return None
        self._turns[model] = turn + last_resort[0] + 1
        return last_resort[1]


# Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2018): nobody gets more than this × the mean.
_BOUND = 1.25


class Affinity:
    """The same key (a prompt's prefix) to the same backend while its load stays bounded; without a key, least load."""

    __slots__ = ("_least_load",)

    def __init__(self) -> None:
        self._least_load = LeastLoad()

    def choose(self, candidates: Sequence[C], model: str, affinity_key: int, /) -> C | None:
        if not affinity_key or len(candidates) == 1:
            return self._least_load.choose(candidates, model, affinity_key)
        slots = sum(candidate.max_concurrent for candidate in candidates)
        load = (sum(candidate.in_flight for candidate in candidates) + 1) / max(1, slots)
        best: C | None = None
        best_rank = 0
        for candidate in candidates:
            if candidate.failure_ewma < _MOSTLY_FAILING and _is_within(candidate, load):
                rank = _rendezvous(affinity_key, candidate.name)
                if best is None or rank > best_rank:
                    best, best_rank = candidate, rank
        return best or self._least_load.choose(candidates, model, affinity_key)


def _is_within(candidate: Candidate, load: float) -> bool:
    """A slot is free and its load stays below the bound; one job is always allowed."""
    in_flight = candidate.in_flight
    if in_flight >= candidate.max_concurrent:
        return False
    return in_flight == 0 or in_flight + 1 <= _BOUND * load * candidate.max_concurrent


def _rendezvous(affinity_key: int, name: str) -> int:
    """Highest random weight, the same in every process (`hash(str)` is not)."""
    mixed = ((affinity_key ^ crc32(name.encode()) * 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    return ((mixed ^ (mixed >> 31)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF


def _if_free(candidate: C) -> C | None:
    return candidate if candidate.in_flight < candidate.max_concurrent else None


def _from_turn(candidates: Sequence[C], turn: int) -> Sequence[C]:
    """All of them, beginning elsewhere each time, so that ties do not always go to the first."""
    if not candidates:
        return candidates
    start = turn % len(candidates)
    return [*candidates[start:], *candidates[:start]] if start else candidates
