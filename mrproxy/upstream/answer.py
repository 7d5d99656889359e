"""Pure. Answer heads: a backend's head parsed once, and the head that the caller gets.

Backends repeat their heads as clients do (a date changes once a second), so a parsed head is kept under its bytes
without the digits of Content-Length: 1.5 µs instead of 9, measured with uvicorn's head.
"""

from http import HTTPStatus

from mrproxy.canonical.exchange import Exchange
from mrproxy.wire.http1 import BACKEND_RESPONSE, Repetition, ResponseHead, parse_response_head, split_length

_CACHED_HEADS = 256
_TIMING = b"server-timing: queue;dur=%.2f, upstream;dur=%.2f, proxy;dur=%.2f\r\n\r\n"
_TIMING_UNQUEUED = _TIMING.replace(b"%.2f", b"0.00", 1)
MAX_HEAD_BYTES = 65536

# 529 is Anthropic's own (API reference, "Errors", 2026).
_REASONS = {**{status.value: status.phrase.encode() for status in HTTPStatus}, 529: b"Overloaded"}


# What no engine answers in, and every web server in front of one does: its own pages.
_PAGES = (b"text/html", b"application/xhtml+xml", b"text/xml", b"application/xml")


class Answer:
    """A parsed head and `start`: the status line and header lines that go to the caller as they are.

    `content_type`: of a translated answer, whose own header lines are about other bytes.
    """

    __slots__ = ("head", "start")

    def __init__(self, head: ResponseHead, content_type: bytes = b"") -> None:
        self.head = head
        lines = b"content-type: %b\r\n" % content_type if content_type else head.forward
        self.start = status_line(head.status) + lines


class AnswerCache:
    """raw head -> (Answer, content length or -1). One per backend. Raises ValueError for what is not HTTP/1.1."""

    def __init__(self, dropped: frozenset[bytes] = BACKEND_RESPONSE) -> None:
        self._answers: dict[bytes, Answer] = {}
        self._dropped = dropped
        self._last: Answer | None = None
        self._repetition: Repetition | None = None

    def find_repeated(self, data: bytes) -> tuple[Answer | None, int, int]:
        """If `data` begins with the same head as the last answer that had a length: (it, body begins, body length)."""
        repetition = self._repetition
        if repetition is not None:
            start, length = repetition.match(data)
            if start:
                return self._last, start, length
        return None, 0, 0

    def find(self, raw: bytes) -> tuple[Answer, int]:
        key, length = split_length(raw)
        answer = self._answers.get(key)
        if answer is not None:
            self._remember(answer, raw, length)
            return answer, length
        head = parse_response_head(raw, self._dropped)
        answer = Answer(head)
        # 304 tells the length of a body that it does not have (RFC 9110 §15.4.5).
        if key and length == head.content_length:
            if len(self._answers) >= _CACHED_HEADS:
                self._answers.clear()
            self._answers[key] = answer
            self._remember(answer, raw, length)
        return answer, head.content_length

    def _remember(self, answer: Answer, raw: bytes, length: int) -> None:
        # An interim answer is never the whole of one, and a page is looked at each time.
        if length >= 0 and 200 <= answer.head.status < 400 and not is_page(answer):
            self._last, self._repetition = answer, Repetition(raw)


def is_page(answer: Answer) -> bool:
    """It is plainly no answer of an engine: a misconfigured proxy shows a page, and says that all is well."""
    return answer.head.content_type.startswith(_PAGES)


def early_head(lines: bytes) -> bytes:
    """The head of a stream that has no answer yet: what follows can only be events, errors included."""
    return b"%bcontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n%b\r\n" % (
        status_line(200),
        lines,
    )


def status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b""))


def answer_head(
    answer: Answer, framing: bytes, exchange: Exchange, backend_line: bytes, now: float, body: bytes = b""
) -> bytes:
    """The head for the caller, and what there is of the body. `framing` is the line that says how the body ends.

    Server-Timing (W3C, 2026) in milliseconds: the wait for a turn, the backend's time to its first byte, and ours.
    """
    queue, sent_at = exchange.queue_seconds, exchange.sent_at
    upstream_ms, proxy_ms = (now - sent_at) * 1000, (sent_at - exchange.started_at - queue) * 1000
    # A number is 200 ns, and most requests wait for nothing.
    timing = _TIMING % (queue * 1000, upstream_ms, proxy_ms) if queue else _TIMING_UNQUEUED % (upstream_ms, proxy_ms)
    head = b"".join((answer.start, framing, exchange.answer_lines, backend_line, timing))
    exchange.head_bytes = len(head)
    return head + body if body else head
