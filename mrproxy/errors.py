"""Pure. One tree of errors, a stable code for each, and a status for each code.

    ProxyError
    ├── ClientError     the request is wrong: 400 404 405 408 411 413 414 415 417 431 501 505
    ├── Refused         the request is fine and the answer is no: 401 403 404 429 503
    └── BackendError    an inference server failed: 502 503 504 (phase, retryable)

Dialects word them (`Dialect.encode_error`); nobody else writes error bodies. A bug is never one of these.
Read next: `mrproxy/dialects/`, where an error becomes bytes in the caller's own shape.
"""

import enum
from typing import assert_never


class Code(enum.StrEnum):
    """Stable: clients, dashboards and the journal may match on these."""

    # the client's mistakes
    BAD_REQUEST = "bad_request"
    INVALID_JSON = "invalid_json"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    UNKNOWN_ROUTE = "unknown_route"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    HEAD_TIMEOUT = "head_timeout"
    BODY_TIMEOUT = "body_timeout"
    LENGTH_REQUIRED = "length_required"
    BODY_TOO_LARGE = "body_too_large"
    TARGET_TOO_LONG = "target_too_long"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    EXPECTATION_FAILED = "expectation_failed"
    HEAD_TOO_LARGE = "head_too_large"
    NOT_IMPLEMENTED = "not_implemented"
    HTTP_VERSION = "http_version"
    # our refusals
    MISSING_KEY = "missing_key"
    INVALID_KEY = "invalid_key"
    EXPIRED_KEY = "expired_key"
    SCOPE_FORBIDDEN = "scope_forbidden"
    ADDRESS_FORBIDDEN = "address_forbidden"
    MODEL_FORBIDDEN = "model_forbidden"
    MODEL_NOT_FOUND = "model_not_found"
    REQUEST_LIMIT = "request_limit"
    TOKEN_LIMIT = "token_limit"
    CONCURRENCY_LIMIT = "concurrency_limit"
    BUDGET_EXHAUSTED = "budget_exhausted"
    FLOW_QUEUE_FULL = "flow_queue_full"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    NO_BACKEND = "no_backend"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    DRAINING = "draining"
    CONTROL_UNAVAILABLE = "control_unavailable"
    # the backend's failures
    BACKEND_FAILED = "backend_failed"
    BACKEND_TIMEOUT = "backend_timeout"
    BACKEND_BUSY = "backend_busy"
    BACKEND_RATE_LIMITED = "backend_rate_limited"
    BACKEND_WITHDRAWN = "backend_withdrawn"
    OUTPUT_INVALID = "output_invalid"
    # ours
    INTERNAL = "internal_error"


# What the ledger refuses: these mend themselves, or an administrator mends them; the request is as good as any.
LIMITS = frozenset({Code.REQUEST_LIMIT, Code.TOKEN_LIMIT, Code.CONCURRENCY_LIMIT, Code.BUDGET_EXHAUSTED})


def status_of(code: Code) -> int:
    """The HTTP status of an error code; a new code cannot forget its status."""
    match code:
        case Code.BAD_REQUEST | Code.INVALID_JSON | Code.MISSING_FIELD | Code.INVALID_FIELD:
            return 400
        case Code.MISSING_KEY | Code.INVALID_KEY | Code.EXPIRED_KEY:
            return 401
        case Code.MODEL_FORBIDDEN | Code.SCOPE_FORBIDDEN | Code.ADDRESS_FORBIDDEN:
            return 403
        case Code.UNKNOWN_ROUTE | Code.MODEL_NOT_FOUND:
            return 404
        case Code.METHOD_NOT_ALLOWED:
            return 405
        case Code.HEAD_TIMEOUT | Code.BODY_TIMEOUT:
            return 408
        case Code.LENGTH_REQUIRED:
            return 411
        case Code.BODY_TOO_LARGE:
            return 413
        case Code.TARGET_TOO_LONG:
            return 414
        case Code.UNSUPPORTED_MEDIA_TYPE:
            return 415
        case Code.EXPECTATION_FAILED:
            return 417
        case (
            Code.REQUEST_LIMIT
            | Code.TOKEN_LIMIT
            | Code.CONCURRENCY_LIMIT
            | Code.BUDGET_EXHAUSTED
            | Code.FLOW_QUEUE_FULL
            | Code.BACKEND_RATE_LIMITED
        ):
            return 429
        case Code.HEAD_TOO_LARGE:
            return 431
        case Code.INTERNAL:
            return 500
        case Code.NOT_IMPLEMENTED:
            return 501
        case Code.BACKEND_FAILED | Code.OUTPUT_INVALID:
            return 502
        case (
            Code.QUEUE_FULL
            | Code.QUEUE_TIMEOUT
            | Code.NO_BACKEND
            | Code.TOO_MANY_CONNECTIONS
            | Code.DRAINING
            | Code.CONTROL_UNAVAILABLE
            | Code.BACKEND_BUSY
            | Code.BACKEND_WITHDRAWN
        ):
            return 503
        case Code.BACKEND_TIMEOUT:
            return 504
        case Code.HTTP_VERSION:
            return 505
        case _:
            assert_never(code)


class Phase(enum.StrEnum):
    """How far an attempt at a backend had come when it failed."""

    CONNECT = "connect"
    SEND = "send"
    FIRST_BYTE = "first_byte"
    STREAM = "stream"


class ProxyError(Exception):
    """What a caller is told instead of an answer.

    `retry_after_seconds` becomes `Retry-After`; every 429 and 503 has one (default 1).
    `headers` are extra answer headers, already encoded (`x-ratelimit-*`, `allow`).
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status_of(code)
        self.message = message
        self.param = param
        self.headers = headers
        if retry_after_seconds is None and self.status in (429, 503):
            retry_after_seconds = 1.0
        self.retry_after_seconds = retry_after_seconds


class ClientError(ProxyError):
    """The request itself is wrong. After a framing error the connection cannot be trusted and closes."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        param: str | None = None,
        closes: bool = False,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(code, message, param=param, headers=headers)
        self.closes = closes


class Refused(ProxyError):
    """A well-formed request that is not served: unknown key, over a limit, nowhere to go."""


class BackendError(ProxyError):
    """An attempt at a backend failed in `phase`; `retryable` says whether another backend may be tried."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        phase: Phase,
        retryable: bool,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(code, message, retry_after_seconds=retry_after_seconds)
        self.phase = phase
        self.retryable = retryable
