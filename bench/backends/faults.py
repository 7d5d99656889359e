"""Pure. Faults on demand: which kinds exist, and which request is struck.

A rule strikes requests at random (seeded) or the next `count` ones; rules come from the command line at start, from
`POST /_mock/faults` while running, and for one request from the header `x-mock-fault: kind[:after_tokens]` or from
a model suffix (`llama!reset_stream`).
"""

import random
from dataclasses import dataclass
from typing import Any

KINDS = {
    "refuse": "reset the connection as soon as a request has arrived",
    "hang": "read the request, never answer",
    "hang_stream": "send `after_tokens` tokens, then nothing more, connection left open",
    "slow": "tokens (or the whole answer) ten times slower",
    "status_503": "answer 503 at once",
    "status_500": "answer 500 at once",
    "status_429": "answer 429 at once, Retry-After: 1",
    "status_529": "answer 529 at once: Anthropic's `overloaded`",
    "html": "answer 200 with a web page",
    "error_event": "after `after_tokens` tokens say in the stream that the engine failed, as its dialect does",
    "reset_stream": "reset the connection (RST) after `after_tokens` tokens",
    "truncate": "end the connection in the middle of a chunk after `after_tokens` tokens",
    "malformed": "answer with bytes that are not HTTP",
}
# Those that strike while tokens flow; the others strike before the answer begins.
STREAM_KINDS = frozenset({"hang_stream", "reset_stream", "truncate", "error_event"})


@dataclass(frozen=True, slots=True)
class Fault:
    kind: str
    after_tokens: int = 3
    delay_seconds: float = 0.0


@dataclass(slots=True)
class Rule:
    fault: Fault
    probability: float = 1.0
    left: int | None = None  # how many requests it may still strike; None: no limit


def split_model(model: str) -> tuple[str, str]:
    """`llama!hang` -> (`llama`, `hang`)."""
    name, _, fault = model.partition("!")
    return name, fault


def parse_fault(text: str) -> Fault | None:
    """`kind` or `kind:after_tokens`; None for anything that is not a known kind."""
    kind, _, after = text.partition(":")
    if kind not in KINDS:
        return None
    return Fault(kind, int(after)) if after.isdigit() else Fault(kind)


def parse_rule(value: dict[str, Any]) -> Rule:
    """`{"kind", "probability", "count", "after_tokens"}`; ValueError names what is wrong."""
    kind = str(value.get("kind", ""))
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    count = value.get("count")
    fault = Fault(kind, int(value.get("after_tokens", 3)))
    return Rule(fault, float(value.get("probability", 1.0)), None if count is None else int(count))


def parse_rule_text(text: str) -> Rule:
    """The command line's form: `kind[,probability=P][,count=N][,after_tokens=K]`."""
    kind, *pairs = text.split(",")
    return parse_rule({"kind": kind} | dict(pair.split("=", 1) for pair in pairs))


class FaultPlan:
    __slots__ = ("_random", "rules")

    def __init__(self, seed: int, rules: list[Rule] | None = None) -> None:
        self._random = random.Random(seed)
        self.rules = rules or []

    def choose(self) -> Fault | None:
        """The fault that strikes the next request, if any: the first rule that fires."""
        for rule in self.rules:
            if rule.left == 0 or (rule.probability < 1.0 and self._random.random() >= rule.probability):
                continue
            if rule.left is not None:
                rule.left -= 1
            return rule.fault
        return None
