"""Pure. Who got how much, over time: shares, Jain's index, how far service / weight of callers drifted apart."""

from dataclasses import dataclass, field
from itertools import combinations


@dataclass(slots=True)
class ServiceLog:
    """Completions in order of time; service is in tokens."""

    weights: dict[str, int]
    events: list[tuple[int, str, int]] = field(default_factory=list)  # (ns, caller, tokens)

    def note(self, at_ns: int, caller: str, tokens: int) -> None:
        self.events.append((at_ns, caller, tokens))

    def between(self, start_ns: int, end_ns: int) -> "ServiceLog":
        return ServiceLog(self.weights, [event for event in self.events if start_ns <= event[0] < end_ns])

    @property
    def service(self) -> dict[str, int]:
        totals = dict.fromkeys(self.weights, 0)
        for _, caller, tokens in self.events:
            totals[caller] += tokens
        return totals

    @property
    def total_tokens(self) -> int:
        return sum(tokens for _, _, tokens in self.events)

    def shares(self) -> dict[str, float]:
        total = self.total_tokens or 1
        return {caller: tokens / total for caller, tokens in self.service.items()}

    def expected_shares(self) -> dict[str, float]:
        total = sum(self.weights.values())
        return {caller: weight / total for caller, weight in self.weights.items()}

    def jain(self) -> float:
        """Jain, Chiu and Hawe 1984, of service / weight: 1 when all have what their weight is worth."""
        values = [tokens / self.weights[caller] for caller, tokens in self.service.items()]
        squares = sum(value * value for value in values)
        return sum(values) ** 2 / (len(values) * squares) if squares else 1.0

    def max_difference(self) -> float:
        """The largest |S_i / w_i - S_j / w_j| over every pair and every interval within the log.

        Over all intervals it is the range of the running difference, so one pass per pair is enough.
        """
        return max((self._range(one, other) for one, other in combinations(self.weights, 2)), default=0.0)

    def _range(self, one: str, other: str) -> float:
        low = high = now = 0.0
        for _, caller, tokens in self.events:
            if caller == one:
                now += tokens / self.weights[one]
            elif caller == other:
                now -= tokens / self.weights[other]
            low, high = min(low, now), max(high, now)
        return high - low


def documented_bound(
    quantum: int, weights: list[int], max_charge: int, burst_cap: int, slots: int, max_error: int
) -> float:
    """The bound of docs/scheduler.md on `max_difference`, service counted at completion; all in tokens.

    Q + (M + C + 2nE) (1/w_i + 1/w_j), and n (M + E) of each flow in flight on top; for the two lightest flows. Written
    out here as a client would from the document, so that the gateway's own arithmetic is not its own judge.
    """
    lightest, second = sorted(weights)[:2]
    at_grant = max_charge + burst_cap + 2 * slots * max_error
    in_flight = slots * (max_charge + max_error)
    return quantum + (at_grant + in_flight) * (1 / lightest + 1 / second)
