"""Pure. How one request went: written by each stage as it passes, read once at its end for the journal.

Times are trio seconds (`_at`); None means "did not happen". `status` 0 means that nothing was answered.
"""

import enum
from typing import NamedTuple

from mrproxy.canonical.capture import Capture


class Usage(NamedTuple):
    """Tokens as the engine counted them; None where it did not say."""

    prompt_tokens: int | None
    completion_tokens: int | None


class UsageState(enum.StrEnum):
    """exact: the engine's own count. counted: the answer was cut, delivered events counted; the prompt is the engine's
    own count. partial: the same, but the prompt is estimated. estimated: complete, but the engine did not say.
    absent: nothing was generated, or it does not generate tokens."""

    EXACT = "exact"
    COUNTED = "counted"
    PARTIAL = "partial"
    ESTIMATED = "estimated"
    ABSENT = "absent"


_ABSENT = UsageState.ABSENT
# What the journal says when the caller left before the answer was complete: nginx's number for it.
CLIENT_DEPARTED_STATUS = 499
CLIENT_DEPARTED = "client_departed"
CLIENT_TOO_SLOW = "client_too_slow"


class Exchange:
    """The trace of one request.

    `answer_lines` are header lines (with CRLF) that go on every answer to it: its id, limits, CORS.
    `events` counts the stream events delivered, `answer_bytes` everything sent to the client, `head_bytes` its head.
    `traceparent` is the caller's trace context, checked; empty if it has none.
    `charged_tokens`: what budgets are charged, where that is not what was used.
    `settles_later`: the engine is being asked how long the prompt was; until it has answered there is no record.
    """

    __slots__ = (
        "answer_bytes", "answer_lines", "attempts", "backend", "body_bytes", "capture", "charged_tokens", "code",
        "dialect", "events", "first_byte_at", "head_bytes", "is_early", "is_sent", "keep_alive", "lane", "model",
        "operation", "queue_seconds", "request_id", "sent_at", "settles_later", "started_at", "status", "streams",
        "traceparent", "usage", "usage_state",
    )  # fmt: skip

    def __init__(self, request_id: bytes, started_at: float, dialect: str, operation: str) -> None:
        self.request_id = request_id
        self.started_at = self.sent_at = started_at
        self.dialect = dialect
        self.operation = operation
        self.model = self.backend = self.code = self.traceparent = ""
        self.lane = "straight"
        self.streams = self.is_sent = self.settles_later = False
        self.is_early = False  # the head of a stream went out while it still waited; `answer_bytes` does not count it
        self.attempts = self.status = self.events = self.body_bytes = self.answer_bytes = self.head_bytes = 0
        self.queue_seconds = 0.0
        self.first_byte_at: float | None = None
        self.usage: Usage | None = None
        self.charged_tokens: int | None = None
        self.usage_state = _ABSENT
        self.answer_lines = b""
        self.capture: Capture | None = None  # only while bodies are captured
        self.keep_alive = True
