"""Shell. What one request is sent and when it is over: head, events, mid-stream faults, closing, or a whole answer.

The per-token path is `emit`: a format, a CRC over the payload (so that a client can prove it got the same bytes), a
send. A scripted answer takes `emit_piece` instead, chosen once per request. `end(sequence, now)` is told before the
last bytes go out, so that the slot is free when the client has them.
"""

import time
from collections.abc import Callable
from typing import Protocol
from zlib import crc32

from bench.backends.faults import STREAM_KINDS, Fault
from bench.backends.residency import Lane
from bench.backends.stats import Stats
from bench.backends.work import LAST_CHUNK, Closing, Timing, Work, frame, frame_template

WALL_CLOCK_BYTES = 30


class Peer(Protocol):
    """What a sequence needs of its client's connection."""

    @property
    def is_lagging(self) -> bool: ...
    def send(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...
    def reset(self) -> None: ...


class Sequence:
    __slots__ = (
        "crc", "due_ns", "emit", "event_bytes", "fault", "fault_at", "is_alive", "is_open", "lane", "left",
        "payload_at", "payload_bytes", "peer", "sent", "template", "timing", "work",
    )  # fmt: skip

    def __init__(self, work: Work, peer: Peer, lane: "Lane[Sequence]", timing: Timing, fault: Fault | None) -> None:
        self.work = work
        self.peer = peer
        self.lane = lane
        self.timing = timing
        self.fault = fault
        self.fault_at = fault.after_tokens if fault is not None and fault.kind in STREAM_KINDS else -1
        is_plain = work.stream and work.script is None
        framed = frame_template(work, WALL_CLOCK_BYTES) if is_plain else (b"", 0, 0)
        self.emit: Emit = _emit_nothing  # the emitter's way to send its next token
        self.template, self.payload_at, self.event_bytes = framed
        self.left = work.completion_tokens
        self.sent = 0
        self.crc = 0
        self.payload_bytes = 0
        self.due_ns = 0
        self.is_alive = True
        self.is_open = False  # a scripted one: the head is out


Emit = Callable[[Sequence, int], None]


def _emit_nothing(_sequence: Sequence, _due: int) -> None:
    """An answer that does not stream has no tokens to send."""


class Emitter:
    def __init__(self, stats: Stats, clock: Callable[[], int], end: Callable[[Sequence, int], None]) -> None:
        self._stats = stats
        self._now = clock
        self._end = end
        self._wall = (0, b"")

    def emit(self, sequence: Sequence, due: int) -> None:
        if sequence.sent == sequence.fault_at:
            self._strike(sequence, due)
            return
        if not sequence.sent:
            self._open(sequence, due)
        if sequence.work.is_dated:
            data = sequence.template % (self._wall_clock(), self._now())
        else:
            data = sequence.template % self._now()
        sequence.sent += 1
        sequence.left -= 1
        sequence.crc = crc32(data[sequence.payload_at : -2], sequence.crc)
        sequence.peer.send(data)
        if not sequence.left and sequence.is_alive:
            self._close(sequence, due)

    def emit_piece(self, sequence: Sequence, due: int) -> None:
        """The same for a scripted answer: the token's events, which may be none."""
        if sequence.sent == sequence.fault_at:
            self._strike(sequence, due)
            return
        script = sequence.work.script
        assert script is not None
        events = self._dated(sequence.work, script[sequence.sent])
        sequence.timing.first_ns = sequence.timing.first_ns or due
        if events and not sequence.is_open:
            self._open(sequence, due)
        sequence.sent += 1
        sequence.left -= 1
        if events:
            payload = b"".join(events)
            sequence.crc = crc32(payload, sequence.crc)
            sequence.payload_bytes += len(payload)
            sequence.peer.send(b"".join(map(frame, events)))
        if not sequence.left and sequence.is_alive:
            if not sequence.is_open:
                self._open(sequence, due)
            self._close(sequence, due)

    def _dated(self, work: Work, events: tuple[bytes, ...]) -> list[bytes]:
        if not work.is_dated:
            return list(events)
        return [event % self._wall_clock() for event in events]

    def _open(self, sequence: Sequence, due: int) -> None:
        work = sequence.work
        sequence.is_open = True
        sequence.timing.first_ns = sequence.timing.first_ns or due
        opening = b"".join(frame(event) for event in work.opening)
        sequence.crc = crc32(b"".join(work.opening))
        sequence.payload_bytes = sum(map(len, work.opening))
        if not work.head_at_once:
            opening = work.head + opening
        if opening:
            sequence.peer.send(opening)

    def _close(self, sequence: Sequence, due: int) -> None:
        sequence.timing.ended_ns = due
        closing = sequence.work.closing(sequence.timing, sequence.sent)
        self._note_stream(sequence, closing)
        peer = sequence.peer
        self._end(sequence, due)
        peer.send(b"".join(map(frame, closing.events)) + LAST_CHUNK)
        peer.finish()

    def _note_stream(self, sequence: Sequence, closing: Closing) -> None:
        """What a client must have received, the usage event left out: it may or may not have been cut on the way."""
        rest = b"".join(event for index, event in enumerate(closing.events) if index != closing.usage_index)
        size = sequence.payload_bytes + sequence.sent * sequence.event_bytes + len(rest)
        fingerprint = (sequence.sent, size, crc32(rest, sequence.crc))
        self._stats.note_sent(sequence.work, sequence.sent, fingerprint)

    def answer_whole(self, sequence: Sequence, due: int) -> int:
        if sequence.is_alive:
            timing, tokens = sequence.timing, sequence.work.completion_tokens
            timing.first_ns = timing.first_ns or due
            timing.ended_ns = self._now()
            peer, answer = sequence.peer, sequence.work.whole(timing, tokens)
            body = answer[answer.find(b"\r\n\r\n") + 4 :]
            self._stats.note_sent(sequence.work, tokens, (0, len(body), crc32(body)))
            self._end(sequence, due)
            peer.send(answer)
            peer.finish()
        return 0

    def _strike(self, sequence: Sequence, due: int) -> None:
        fault = sequence.fault
        assert fault is not None
        if fault.kind == "hang_stream":
            sequence.due_ns = due + 10**18
            sequence.fault_at = sequence.sent  # stays struck: every later tick ends here again
            return
        if not sequence.is_open:
            self._open(sequence, due)
        peer = sequence.peer
        self._end(sequence, due)
        if fault.kind == "truncate":
            whole = self._next_data(sequence, due)
            peer.send(whole[: len(whole) // 2])
            peer.close()
        elif fault.kind == "error_event":
            peer.send(b"".join(map(frame, sequence.work.failure)) + LAST_CHUNK)
            peer.finish()
        else:
            peer.reset()

    def _next_data(self, sequence: Sequence, due: int) -> bytes:
        """The chunk that would have come next: of a script, that of the next token that has one."""
        work = sequence.work
        if work.script is None:
            return sequence.template % ((self._wall_clock(), due) if work.is_dated else due)
        later = (events for events in work.script[sequence.sent :] if events)
        return b"".join(map(frame, self._dated(work, next(later, work.failure))))

    def _wall_clock(self) -> bytes:
        """RFC 3339 with nanoseconds, as Go prints time.Time: `2025-11-21T01:17:43.123456789Z`."""
        now = time.time_ns()
        second = now // 1_000_000_000
        if self._wall[0] != second:
            self._wall = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode())
        return b"%b.%09dZ" % (self._wall[1], now % 1_000_000_000)
