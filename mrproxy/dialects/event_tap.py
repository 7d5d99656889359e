"""Pure. What taps of streams with named events share (Anthropic's Messages, OpenAI's Responses): they cut nothing.

Events are passed on whole, as `usage.py` says, and looked at as they pass; a document is passed on at once, and read
when it is complete, or its end if it is long. What an event or a document says is the dialect's matter.
Read first: `usage.py`, for what a tap is to the relay.
"""

from abc import ABC, abstractmethod

from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.usage import BLANK_LINE, MAX_DOCUMENT_BYTES, MAX_HELD_BYTES, PING_COMMENT, TAIL_BYTES


class EventTap(ABC):
    """`is_stream`: of an answer that streams; else of one document. `_is_flowing`: only content is seen just now."""

    __slots__ = ("_held", "_is_flowing", "_is_overlong", "_size", "events", "marker", "tail", "usage")
    cuts = False
    # The end of a long document in which its usage is looked for.
    document_end_bytes = TAIL_BYTES
    # What is kept of an event that is too long to be held: half a blank line.
    event_end_bytes = 3
    ping_event = PING_COMMENT

    def __init__(self, is_stream: bool) -> None:
        self.marker = b'"usage"' if is_stream else b""
        self.tail = b"\n\n\r\n" if is_stream else b""
        self.usage: Usage | None = None
        self.events = 0
        self._held = b""
        self._size = 0
        self._is_flowing = False
        self._is_overlong = False

    @abstractmethod
    def read_event(self, event: bytes) -> None:
        """One complete event."""

    @abstractmethod
    def read_overlong(self, end: bytes) -> None:
        """The end of an event that was too long to be held."""

    @abstractmethod
    def read_document(self, document: bytes, *, is_whole: bool) -> Usage | None:
        """A document, or the end of one; None when there is no usage to be found."""

    @property
    def is_aligned(self) -> bool:
        return self._is_flowing and not self._held

    @property
    def is_mid_event(self) -> bool:
        return self._is_overlong

    def receive_data(self, payload: bytes) -> bytes:
        if not self.marker:
            self._receive_document(payload)
            return payload
        data = self._held + payload
        begin = len(self._held) if self._is_overlong else 0
        end = 0
        for blank in BLANK_LINE.finditer(data):
            self._look(data[end : blank.start()])
            end = blank.end()
        self._held = data[end:]
        if self._is_overlong or len(self._held) > MAX_HELD_BYTES:
            self._is_overlong = True
            self._held = self._held[-self.event_end_bytes :]
            end = len(data)
        return data[begin:end]

    def finish(self) -> bytes:
        held, self._held = self._held, b""
        if not self.marker:
            self.usage = self.read_document(held, is_whole=self._size <= MAX_DOCUMENT_BYTES)
            return b""
        out = b"" if self._is_overlong else held
        if held:
            self._look(held)
        return out

    def receive_whole(self, payload: bytes) -> None:
        self.receive_data(payload)
        self.finish()

    def skip(self, rest: int) -> int:
        """All but the end, of a document that is too long to be read whole."""
        end_bytes = self.document_end_bytes
        if self.marker or self._size + rest <= MAX_DOCUMENT_BYTES or rest <= end_bytes:
            return 0
        self._held = b""
        self._size += rest - end_bytes
        return rest - end_bytes

    def ping(self) -> bytes:
        return self.ping_event if self.marker and not self._is_overlong else b""

    def _receive_document(self, payload: bytes) -> None:
        self._size += len(payload)
        self._held += payload
        if len(self._held) > MAX_DOCUMENT_BYTES:
            self._held = self._held[-self.document_end_bytes :]

    def _look(self, event: bytes) -> None:
        if self._is_overlong:
            self._is_overlong = False
            self.read_overlong(event)
        else:
            self.read_event(event)
