"""Shell. The simulated engine behind both dialects: slots, queue, model loads, and the clock of every token.

A request is a `Sequence`. It waits in its lane (vLLM: one lane; Ollama: one per model) until the model is loaded
and a slot is free, is prefilled, then emits one event per token. Pacing `independent`: each sequence has its own
clock, its phase drawn at its second token. Pacing `step`: one clock per lane, and every step all running sequences
emit, as continuous batching does. A client that reads too slowly gets no further tokens until it has taken the
last: backpressure reaches the engine.

The per-token path is `_emit`: a format, a CRC over the payload (so that a client can prove it got the same bytes),
a send.
"""

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol
from zlib import crc32

from bench.backends.faults import STREAM_KINDS, Fault
from bench.backends.settings import EngineSettings, prefill_seconds, step_seconds
from bench.backends.stats import Stats
from bench.backends.work import LAST_CHUNK, Closing, Timing, Work, frame, frame_template
from bench.reactor import TimerCallback

WALL_CLOCK_BYTES = 30


class Peer(Protocol):
    """What a sequence needs of its client's connection."""

    @property
    def is_lagging(self) -> bool: ...
    def send(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...
    def reset(self) -> None: ...


class Timers(Protocol):
    def call_at(self, due_ns: int, callback: TimerCallback) -> None: ...


class Sequence:
    __slots__ = (
        "crc", "due_ns", "event_bytes", "fault", "fault_at", "is_alive", "lane", "left", "payload_at",
        "payload_bytes", "peer", "sent", "template", "timing", "work",
    )  # fmt: skip

    def __init__(self, work: Work, peer: Peer, lane: "Lane", timing: Timing, fault: Fault | None) -> None:
        self.work = work
        self.peer = peer
        self.lane = lane
        self.timing = timing
        self.fault = fault
        self.fault_at = fault.after_tokens if fault is not None and fault.kind in STREAM_KINDS else -1
        framed = frame_template(work, WALL_CLOCK_BYTES) if work.stream else (b"", 0, 0)
        self.template, self.payload_at, self.event_bytes = framed
        self.left = work.completion_tokens
        self.sent = 0
        self.crc = 0
        self.payload_bytes = 0
        self.due_ns = 0
        self.is_alive = True


class Lane:
    __slots__ = ("expires_ns", "is_loaded", "is_loading", "is_stepping", "keep_alive_ns", "model", "running", "waiting")

    def __init__(self, model: str, is_loaded: bool) -> None:
        self.model = model
        self.running: dict[Sequence, None] = {}
        self.waiting: deque[Sequence] = deque()
        self.is_loaded = is_loaded
        self.is_loading = False
        self.is_stepping = False
        self.keep_alive_ns = 0
        self.expires_ns = 0

    @property
    def is_idle(self) -> bool:
        return not self.running and not self.waiting


class Engine:
    def __init__(
        self, settings: EngineSettings, timers: Timers, stats: Stats, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.settings = settings
        self._now = clock
        self._timers = timers
        self._stats = stats
        self._random = random.Random(settings.seed)
        self._has_loads = settings.kind == "ollama"
        self.lanes: dict[str, Lane] = {}
        self._waiting = 0
        self._wall = (0, b"")

    @property
    def running(self) -> int:
        return sum(len(lane.running) for lane in self.lanes.values())

    @property
    def waiting(self) -> int:
        return self._waiting

    def submit(self, work: Work, peer: Peer, fault: Fault | None, now: int) -> Sequence | None:
        """Start or queue; None when the queue is full."""
        lane = self._lane_of(work.model)
        limit = self.settings.queue_limit
        must_wait = not lane.is_loaded or bool(lane.waiting) or len(lane.running) >= self.settings.max_num_seqs
        if must_wait and limit and self._waiting >= limit:
            return None
        if work.keep_alive_seconds is not None:
            lane.keep_alive_ns = _keep_alive_ns(work.keep_alive_seconds)
        sequence = Sequence(work, peer, lane, Timing(now), fault)
        lane.waiting.append(sequence)
        self._waiting += 1
        if work.head_at_once and work.stream:
            peer.send(work.head)
        self._admit(lane, now)
        return sequence

    def abort(self, sequence: Sequence, now: int) -> None:
        """The client is gone: free the slot and note when we saw it."""
        if sequence.is_alive:
            is_waiting = sequence not in sequence.lane.running
            phase = "waiting" if is_waiting else "prefill" if not sequence.sent else "streaming"
            self._stats.note_abort(sequence.work, phase, sequence.sent, now)
            self._release(sequence, now)

    def expire(self, now: int) -> None:
        """Unload models whose keep-alive has passed."""
        for lane in self.lanes.values():
            if self._has_loads and lane.is_loaded and lane.is_idle and lane.expires_ns <= now:
                lane.is_loaded = False

    def unload(self, model: str) -> None:
        lane = self._lane_of(model)
        lane.expires_ns = 0
        lane.is_loaded = not lane.is_idle

    def _lane_of(self, model: str) -> Lane:
        key = model if self._has_loads else ""
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(key, not self._has_loads)
            lane.keep_alive_ns = _keep_alive_ns(self.settings.keep_alive_seconds)
        return lane

    def _admit(self, lane: Lane, now: int) -> None:
        if not lane.is_loaded and not self._load(lane, now):
            return
        while lane.waiting and len(lane.running) < self.settings.max_num_seqs:
            sequence = lane.waiting.popleft()
            self._waiting -= 1
            self._start(sequence, now)

    def _load(self, lane: Lane, now: int) -> bool:
        """Have the model loaded: True if it already can serve. Idle models make room, the longest unused first."""
        if lane.is_loading or lane.is_idle:
            return False
        self.expire(now)
        resident = [other for other in self.lanes.values() if other.is_loaded or other.is_loading]
        if len(resident) >= self.settings.max_loaded_models:
            idle = [other for other in resident if other.is_idle and not other.is_loading]
            if not idle:
                return False
            min(idle, key=lambda other: other.expires_ns - other.keep_alive_ns).is_loaded = False
        for sequence in lane.waiting:
            sequence.timing.load_ns = int(self.settings.load_seconds * 1e9)
        if not self.settings.load_seconds:
            lane.is_loaded = True
            return True
        lane.is_loading = True

        def loaded(due: int) -> int:
            lane.is_loading, lane.is_loaded = False, True
            lane.expires_ns = due + lane.keep_alive_ns
            self._admit(lane, due)
            return 0

        self._timers.call_at(now + int(self.settings.load_seconds * 1e9), loaded)
        return False

    def _start(self, sequence: Sequence, now: int) -> None:
        work, lane = sequence.work, sequence.lane
        sequence.timing.started_ns = now
        lane.running[sequence] = None
        slowdown = 10 if sequence.fault is not None and sequence.fault.kind == "slow" else 1
        prefill = prefill_seconds(self.settings, work.prompt_tokens)
        if not work.stream:
            seconds = self.settings.json_seconds
            if seconds is None:
                seconds = prefill + work.completion_tokens * step_seconds(self.settings, len(lane.running))
            if seconds * slowdown <= 0:
                self._answer_whole(sequence, now)
            else:
                self._timers.call_at(now + int(seconds * slowdown * 1e9), lambda due: self._answer_whole(sequence, due))
            return
        sequence.due_ns = now + int(prefill * slowdown * 1e9)
        if self.settings.pacing == "step":
            self._start_stepping(lane, now)
        else:
            self._timers.call_at(sequence.due_ns, lambda due: self._tick(sequence, due))

    def _start_stepping(self, lane: Lane, now: int) -> None:
        if not lane.is_stepping:
            lane.is_stepping = True
            self._timers.call_at(now + int(self.settings.itl_seconds * 1e9), lambda due: self._step(lane, due))

    def _step(self, lane: Lane, due: int) -> int:
        for sequence in list(lane.running):
            if sequence.work.stream and sequence.due_ns <= due and not sequence.peer.is_lagging and sequence.is_alive:
                self._emit(sequence, due)
        if not lane.running:
            lane.is_stepping = False
            return 0
        return due + int(step_seconds(self.settings, len(lane.running)) * 1e9)

    def _tick(self, sequence: Sequence, due: int) -> int:
        """One sequence's own clock: emit, and say when the next token is due."""
        if sequence.is_alive and not sequence.peer.is_lagging:
            self._emit(sequence, due)
        if not sequence.is_alive:
            return 0
        interval = int(step_seconds(self.settings, len(sequence.lane.running)) * 1e9)
        if sequence.fault is not None and sequence.fault.kind == "slow":
            interval *= 10
        if sequence.sent == 1:
            # The second token sets the phase, so that streams opened together do not stay in step.
            interval = int(interval * self._random.random()) + 1
        # A clock that has fallen behind does not burst to catch up.
        return max(due + interval, self._now() - interval)

    def _emit(self, sequence: Sequence, due: int) -> None:
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

    def _open(self, sequence: Sequence, due: int) -> None:
        work = sequence.work
        sequence.timing.first_ns = due
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
        self._release(sequence, due)
        peer.send(b"".join(map(frame, closing.events)) + LAST_CHUNK)
        peer.finish()

    def _note_stream(self, sequence: Sequence, closing: Closing) -> None:
        """What a client must have received, the usage event left out: it may or may not have been cut on the way."""
        rest = b"".join(event for index, event in enumerate(closing.events) if index != closing.usage_index)
        size = sequence.payload_bytes + sequence.sent * sequence.event_bytes + len(rest)
        fingerprint = (sequence.sent, size, crc32(rest, sequence.crc))
        self._stats.note_sent(sequence.work, sequence.sent, fingerprint)

    def _answer_whole(self, sequence: Sequence, due: int) -> int:
        if sequence.is_alive:
            timing, tokens = sequence.timing, sequence.work.completion_tokens
            timing.first_ns = timing.first_ns or due
            timing.ended_ns = self._now()
            peer, answer = sequence.peer, sequence.work.whole(timing, tokens)
            body = answer[answer.find(b"\r\n\r\n") + 4 :]
            self._stats.note_sent(sequence.work, tokens, (0, len(body), crc32(body)))
            self._release(sequence, due)
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
        if not sequence.sent:
            self._open(sequence, due)
        peer = sequence.peer
        self._release(sequence, due)
        if fault.kind == "truncate":
            whole = sequence.template % ((self._wall_clock(), due) if sequence.work.is_dated else due)
            peer.send(whole[: len(whole) // 2])
            peer.close()
        else:
            peer.reset()

    def _release(self, sequence: Sequence, now: int) -> None:
        sequence.is_alive = False
        lane = sequence.lane
        self._stats.tokens_sent += sequence.sent
        if sequence in lane.running:
            del lane.running[sequence]
        elif sequence in lane.waiting:
            lane.waiting.remove(sequence)
            self._waiting -= 1
        lane.expires_ns = now + lane.keep_alive_ns
        if self._waiting:
            self._admit(lane, now)
            if self._has_loads and lane.is_idle:
                for other in self.lanes.values():  # one that waited for memory may load now
                    self._admit(other, now)

    def _wall_clock(self) -> bytes:
        """RFC 3339 with nanoseconds, as Go prints time.Time: `2025-11-21T01:17:43.123456789Z`."""
        now = time.time_ns()
        second = now // 1_000_000_000
        if self._wall[0] != second:
            self._wall = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode())
        return b"%b.%09dZ" % (self._wall[1], now % 1_000_000_000)


def _keep_alive_ns(seconds: float) -> int:
    """Negative means for ever, as in Ollama."""
    return 2**62 if seconds < 0 else int(seconds * 1e9)
