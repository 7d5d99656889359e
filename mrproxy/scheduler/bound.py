"""Pure. The guarantee of `wdrr.py` as numbers; docs/scheduler.md derives them.

Service is in tokens, service / weight in tokens per unit of weight. Exact: results are fractions.
"""

from collections.abc import Sequence
from fractions import Fraction


def fairness_bound(
    quantum_tokens: int,
    weights: Sequence[int],
    max_charge_tokens: int,
    burst_cap_tokens: int = 0,
    slots: int = 0,
    max_error_tokens: int = 0,
) -> Fraction:
    """How far service / weight of two flows can drift apart over any interval in which both have jobs waiting.

    Service counts when it is granted, either by its true cost, or as charged (the estimate at the grant, the
    correction when it settles). `max_charge_tokens`: the largest estimate; `max_error_tokens`: the largest
    |true cost - estimate|; `slots`: most jobs of one flow in flight. With more than two weights, the worst pair.
    """
    span_tokens = max_charge_tokens + burst_cap_tokens + 2 * slots * max_error_tokens
    return quantum_tokens + span_tokens * _inverse_of_lightest_two(weights)


def completion_bound(
    quantum_tokens: int,
    weights: Sequence[int],
    max_charge_tokens: int,
    burst_cap_tokens: int = 0,
    slots: int = 0,
    max_error_tokens: int = 0,
) -> Fraction:
    """The same where service is counted when it is finished, as a client sees it: what is in flight comes on top."""
    at_grant = fairness_bound(quantum_tokens, weights, max_charge_tokens, burst_cap_tokens, slots, max_error_tokens)
    in_flight_tokens = slots * (max_charge_tokens + max_error_tokens)
    return at_grant + in_flight_tokens * _inverse_of_lightest_two(weights)


def jain_index(values: Sequence[float]) -> float:
    """Jain, Chiu and Hawe 1984: 1 when all are equal, 1/n when one has everything. Feed it service / weight."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def _inverse_of_lightest_two(weights: Sequence[int]) -> Fraction:
    lightest, second = sorted(weights)[:2]
    return Fraction(1, lightest) + Fraction(1, second)
