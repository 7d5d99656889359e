"""Pure. What a mock saw: requests per route, tokens, every client that left early and when.

Stamps are `time.monotonic_ns` of the host, so a test on the same host can subtract its own.
"""

from collections import Counter, deque
from typing import Any

from bench.backends.work import Work

MAX_REMEMBERED = 20_000


class Stats:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.connections_total = 0
        self.connections_open = 0
        self.tokens_sent = 0
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.aborted_total = 0
        self.aborted: deque[dict[str, Any]] = deque(maxlen=MAX_REMEMBERED)
        self.sent: dict[str, tuple[int, int, int]] = {}

    def note_abort(self, work: Work, phase: str, tokens: int, at_ns: int) -> None:
        self.aborted_total += 1
        self.aborted.append(
            {"id": work.id, "route": work.route, "model": work.model, "phase": phase, "tokens": tokens, "at_ns": at_ns}
        )

    def note_sent(self, work: Work, tokens: int, fingerprint: tuple[int, int, int]) -> None:
        """An answer that was sent to its end: (tokens, payload bytes, CRC-32) that its client must have received."""
        self.prompt_tokens += work.prompt_tokens
        self.generation_tokens += tokens
        self.sent[work.id] = fingerprint
        if len(self.sent) > MAX_REMEMBERED:
            del self.sent[next(iter(self.sent))]

    def summary(self, running: int, waiting: int, now_ns: int) -> dict[str, Any]:
        return {
            "now_ns": now_ns,
            "running": running,
            "waiting": waiting,
            "connections_open": self.connections_open,
            "connections_total": self.connections_total,
            "requests": dict(self.requests),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "faults": dict(self.faults),
            "tokens_sent": self.tokens_sent,
            "prompt_tokens": self.prompt_tokens,
            "generation_tokens": self.generation_tokens,
            "aborted_total": self.aborted_total,
            "aborted": list(self.aborted),
        }
