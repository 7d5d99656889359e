"""Shell. Verdicts: what an unhappy attempt means for its backend, and for the request.

`judged` reads an engine's error answer, `blame` tells the breaker of everything else, `was_stale` says when nobody is
to blame. Read first: `attempts.py`, which asks.
"""

from mrproxy.dialects.engine_errors import read_error_message
from mrproxy.errors import BackendError, Code, Phase
from mrproxy.upstream.backend import Backend
from mrproxy.upstream.breaker import Failure
from mrproxy.upstream.pump import Relay

# What an engine answers when the trouble is its own; other statuses are about the request and go to the caller.
# 529 is Anthropic's "overloaded".
_OWN_TROUBLE = frozenset({500, 502, 503, 504, 529})
_CODES = {429: Code.BACKEND_RATE_LIMITED, 503: Code.BACKEND_BUSY, 529: Code.BACKEND_BUSY}
# Longest `Retry-After` of a backend that is believed (an hour is a quota, not a moment of load).
_MAX_HOLD_SECONDS = 3600.0


class EngineRefused(BackendError):
    """An engine's error answer, kept: it goes to the caller as it is when no other attempt may be made."""

    def __init__(self, relay: Relay, retry_after_seconds: float | None) -> None:
        answer = relay.answer
        assert answer is not None
        assert relay.held is not None
        status = answer.head.status
        code = _CODES.get(status, Code.BACKEND_FAILED)
        is_own_trouble = status in _OWN_TROUBLE or status == 429
        super().__init__(
            code,
            f"the backend answered {status}",
            phase=Phase.FIRST_BYTE,
            retryable=is_own_trouble,
            retry_after_seconds=retry_after_seconds,
        )
        # The journal and the metrics say what the caller saw.
        self.engine_status = self.status = status
        self.content_type = answer.head.content_type
        self.body = bytes(relay.held)
        # The caller speaks another dialect: its own says it, with the engine's words where there are any.
        self.is_foreign = False

    def translate(self) -> None:
        """For a caller of another dialect."""
        self.is_foreign = True
        self.message = read_error_message(self.body) or self.message


def was_stale(relay: Relay) -> bool:
    """The pooled connection had been closed by the backend before it could see the request."""
    error = relay.error
    return (
        error is not None
        and error.code is Code.BACKEND_FAILED
        and error.phase in (Phase.SEND, Phase.FIRST_BYTE)
        and not relay.has_heard
    )


def blame(error: BackendError, backend: Backend, now: float) -> None:
    """Tell the backend's breaker; withdrawing and draining are our own doing."""
    if error.code is Code.BACKEND_TIMEOUT:
        backend.failed(Failure.TIMEOUT, now)
    elif error.code is Code.BACKEND_FAILED:
        backend.failed(Failure.SERVER_ERROR, now)
    elif error.code is Code.OUTPUT_INVALID:
        backend.gave_up(now)  # it answered; what the model wrote is no trouble of the backend's


def judged(relay: Relay, backend: Backend, now: float) -> EngineRefused:
    """An error answer: whose fault it is, and how long to leave the backend alone."""
    answer = relay.answer
    assert answer is not None
    status = answer.head.status
    retry_after_seconds = parse_retry_after(answer.head.get(b"retry-after"))
    if status == 429:
        backend.failed(Failure.RATE_LIMITED, now, retry_after_seconds)
    elif status in _OWN_TROUBLE:
        backend.failed(Failure.SERVER_ERROR, now, retry_after_seconds)
    else:
        backend.succeeded(now - relay.exchange.sent_at, now)
    return EngineRefused(relay, retry_after_seconds)


def parse_retry_after(value: bytes | None) -> float | None:
    """Seconds (RFC 9110 §10.2.3); a date is not guessed at."""
    if value is None or not value.isdigit():
        return None
    return min(float(value), _MAX_HOLD_SECONDS)
