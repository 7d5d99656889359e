"""Verdicts by themselves; what a gateway does by them is in tests/test_attempts.py."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.errors import BackendError, Code, Phase
from mrproxy.upstream.breaker import Failure
from mrproxy.upstream.pump import Relay
from mrproxy.verdicts import blame, judged, parse_retry_after, was_stale

NOW = 10.0


class FakeBackend:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def succeeded(self, ttft_seconds: float, now: float) -> None:
        self.heard.append(("succeeded", ttft_seconds, now))

    def failed(self, kind: Failure, now: float, hold_seconds: float | None = None) -> None:
        self.heard.append((kind, now, hold_seconds))

    def gave_up(self, now: float) -> None:
        self.heard.append(("gave up", now))


def held(status: int, body: bytes = b"{}", retry_after: bytes | None = None) -> Relay:
    head = SimpleNamespace(status=status, content_type=b"application/json", get=lambda name: retry_after)
    made = SimpleNamespace(
        answer=SimpleNamespace(head=head), held=bytearray(body), exchange=SimpleNamespace(sent_at=9.0)
    )
    return cast("Relay", made)


def broken(phase: Phase, *, code: Code = Code.BACKEND_FAILED, has_heard: bool = False) -> Relay:
    error = BackendError(code, "it failed", phase=phase, retryable=True)
    return cast("Relay", SimpleNamespace(error=error, has_heard=has_heard))


@pytest.mark.parametrize(
    ("status", "kind", "is_retryable", "code"),
    [
        (429, Failure.RATE_LIMITED, True, Code.BACKEND_RATE_LIMITED),
        (500, Failure.SERVER_ERROR, True, Code.BACKEND_FAILED),
        (503, Failure.SERVER_ERROR, True, Code.BACKEND_BUSY),
        (529, Failure.SERVER_ERROR, True, Code.BACKEND_BUSY),
    ],
)
def test_an_engines_own_trouble_is_its_own(status: int, kind: Failure, is_retryable: bool, code: Code) -> None:
    backend = FakeBackend()
    refused = judged(held(status, retry_after=b"7"), cast("Any", backend), NOW)
    assert backend.heard == [(kind, NOW, 7.0)]
    assert (refused.retryable, refused.code, refused.status) == (is_retryable, code, status)


@pytest.mark.parametrize("status", [400, 404, 422, 501])
def test_a_refused_request_is_no_trouble_of_the_backend(status: int) -> None:
    backend = FakeBackend()
    refused = judged(held(status, b'{"error":{"message":"no such field"}}'), cast("Any", backend), NOW)
    assert backend.heard == [("succeeded", 1.0, NOW)]
    assert not refused.retryable
    assert refused.message == f"the backend answered {status}"
    refused.translate()
    assert (refused.is_foreign, refused.message) == (True, "no such field")


@pytest.mark.parametrize(
    ("code", "heard"),
    [
        (Code.BACKEND_TIMEOUT, [(Failure.TIMEOUT, NOW, None)]),
        (Code.BACKEND_FAILED, [(Failure.SERVER_ERROR, NOW, None)]),
        (Code.OUTPUT_INVALID, [("gave up", NOW)]),
        (Code.BACKEND_WITHDRAWN, []),
        (Code.DRAINING, []),
    ],
)
def test_only_what_a_backend_did_is_blamed_on_it(code: Code, heard: list[object]) -> None:
    backend = FakeBackend()
    blame(BackendError(code, "x", phase=Phase.STREAM, retryable=False), cast("Any", backend), NOW)
    assert backend.heard == heard


def test_a_connection_is_stale_that_broke_before_the_backend_said_anything() -> None:
    assert was_stale(broken(Phase.SEND))
    assert was_stale(broken(Phase.FIRST_BYTE))
    assert not was_stale(broken(Phase.FIRST_BYTE, has_heard=True))
    assert not was_stale(broken(Phase.STREAM))
    assert not was_stale(broken(Phase.FIRST_BYTE, code=Code.BACKEND_TIMEOUT))
    assert not was_stale(cast("Relay", SimpleNamespace(error=None, has_heard=False)))


@given(st.binary(max_size=12))
def test_a_wish_for_patience_is_seconds_or_nothing_and_an_hour_at_most(value: bytes) -> None:
    seconds = parse_retry_after(value)
    if value.isdigit():
        assert seconds == min(float(value), 3600.0)
    else:
        assert seconds is None
    assert parse_retry_after(None) is None
