"""Pure. A tap that keeps what passes through another one, for answers whose bodies are captured.

It is never aligned, so the relay's fast path leaves it every byte. What the inner tap cuts is not kept: the capture has
what the caller got.
"""

from mrproxy.canonical.capture import Body
from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.usage import Tap


class CapturingTap:
    """`inner` decides what passes and finds the usage; `kept` gets what passed."""

    __slots__ = ("_inner", "_kept", "cuts")
    marker = b""
    tail = b""
    is_aligned = False

    def __init__(self, inner: Tap, kept: Body) -> None:
        self._inner = inner
        self._kept = kept
        self.cuts = inner.cuts

    @property
    def is_mid_event(self) -> bool:
        return self._inner.is_mid_event

    @property
    def usage(self) -> Usage | None:
        return self._inner.usage

    @usage.setter
    def usage(self, usage: Usage | None) -> None:
        self._inner.usage = usage

    @property
    def events(self) -> int:
        return self._inner.events

    @events.setter
    def events(self, events: int) -> None:
        self._inner.events = events

    def receive_data(self, payload: bytes) -> bytes:
        out = self._inner.receive_data(payload)
        self._kept.receive_data(out)
        return out

    def finish(self) -> bytes:
        out = self._inner.finish()
        self._kept.receive_data(out)
        return out

    def receive_whole(self, payload: bytes) -> None:
        self._inner.receive_whole(payload)
        self._kept.receive_data(payload)

    def skip(self, rest: int) -> int:
        return 0

    def ping(self) -> bytes:
        return self._inner.ping()
