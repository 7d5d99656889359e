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
    """exact: the engine's own count. partial: the answer was cut, delivered events counted. estimated: complete, but
    the engine did not say. absent: nothing was generated, or it does not generate tokens."""

    EXACT = "exact"
    PARTIAL = "partial"
    ESTIMATED = "estimated"
    ABSENT = "absent"


# What the journal says when the caller left before the answer was complete: nginx's number for it.
CLIENT_DEPARTED_STATUS = 499
CLIENT_DEPARTED = "client_departed"
CLIENT_TOO_SLOW = "client_too_slow"


class Exchange:
    """The trace of one request.

    `answer_lines` are header lines (with CRLF) that go on every answer to it: its id, limits, CORS.
    `events` counts the stream events delivered, `answer_bytes` everything sent to the client.
    """

    # Defaults stand in the class: most requests change half of them, and making one is on every request's path.
    model: str = ""
    backend: str = ""
    streams: bool = False
    attempts: int = 0
    status: int = 0
    code: str = ""
    queue_seconds: float = 0.0
    is_sent: bool = False
    is_early: bool = False  # the head of a stream went out while it still waited; `answer_bytes` does not count it
    first_byte_at: float | None = None
    usage: Usage | None = None
    usage_state: UsageState = UsageState.ABSENT
    events: int = 0
    body_bytes: int = 0
    answer_bytes: int = 0
    answer_lines: bytes = b""
    capture: Capture | None = None  # only while bodies are captured
    keep_alive: bool = True

    def __init__(self, request_id: bytes, started_at: float, dialect: str, operation: str) -> None:
        self.request_id = request_id
        self.started_at = self.sent_at = started_at
        self.dialect = dialect
        self.operation = operation
