"""Shell. The simulated engine behind both dialects: slots, queue, model loads, and the clock of every token.

A request is a `Sequence`. It waits in its lane (vLLM: one lane; Ollama: one per model) until the model is loaded
and a slot is free, is prefilled, then emits one event per token. Pacing `independent`: each sequence has its own
clock, its phase drawn at its second token. Pacing `step`: one clock per lane, and every step all running sequences
emit, as continuous batching does. A client that reads too slowly gets no further tokens until it has taken the
last: backpressure reaches the engine.
Read next: `emitter.py`, what a sequence sends.
"""

import random
import time
from collections.abc import Callable
from typing import Protocol

from bench.backends.emitter import Emitter, Peer, Sequence
from bench.backends.faults import Fault
from bench.backends.residency import Lane, Residency
from bench.backends.settings import EngineSettings, prefill_seconds, step_seconds
from bench.backends.stats import Stats
from bench.backends.work import Timing, Work
from bench.reactor import TimerCallback


class Timers(Protocol):
    def call_at(self, due_ns: int, callback: TimerCallback) -> None: ...


class Engine:
    def __init__(
        self, settings: EngineSettings, timers: Timers, stats: Stats, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.settings = settings
        self._now = clock
        self._timers = timers
        self._stats = stats
        self._random = random.Random(settings.seed)
        self.residency: Residency[Sequence] = Residency(settings)
        self._waiting = 0
        self._emitter = Emitter(stats, clock, self._release)

    @property
    def running(self) -> int:
        return sum(len(lane.running) for lane in self.residency.lanes.values())

    @property
    def waiting(self) -> int:
        return self._waiting

    def submit(self, work: Work, peer: Peer, fault: Fault | None, now: int) -> Sequence | None:
        """Start or queue; None when the queue is full."""
        lane = self.residency.lane_of(work.model)
        limit = self.settings.queue_limit
        must_wait = not lane.is_loaded or bool(lane.waiting) or len(lane.running) >= self.settings.max_num_seqs
        if must_wait and limit and self._waiting >= limit:
            return None
        if work.keep_alive_seconds is not None:
            lane.keep_alive(work.keep_alive_seconds)
        sequence = Sequence(work, peer, lane, Timing(now), fault)
        # Chosen here, once: the plain answer's path per token knows nothing of scripts.
        sequence.emit = self._emitter.emit if work.script is None else self._emitter.emit_piece
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

    def _admit(self, lane: Lane[Sequence], now: int) -> None:
        while lane.waiting and len(lane.running) < self.settings.max_num_seqs:
            if not self.residency.fit_context(lane, lane.waiting[0].work.num_ctx):
                return
            if not self.residency.load(lane, now, lambda: self._begin_load(lane, now)):
                return
            sequence = lane.waiting.popleft()
            self._waiting -= 1
            self._start(sequence, now)

    def _begin_load(self, lane: Lane[Sequence], now: int) -> None:
        load_ns = int(self.settings.load_seconds * 1e9)
        for sequence in lane.waiting:
            sequence.timing.load_ns = load_ns

        def loaded(due: int) -> int:
            lane.finish_load(due)
            self._admit(lane, due)
            return 0

        self._timers.call_at(now + load_ns, loaded)

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
                self._emitter.answer_whole(sequence, now)
            else:
                self._timers.call_at(
                    now + int(seconds * slowdown * 1e9), lambda due: self._emitter.answer_whole(sequence, due)
                )
            return
        sequence.due_ns = now + int(prefill * slowdown * 1e9)
        if self.settings.pacing == "step":
            self._start_stepping(lane, now)
        else:
            self._timers.call_at(sequence.due_ns, lambda due: self._tick(sequence, due))

    def _start_stepping(self, lane: Lane[Sequence], now: int) -> None:
        if not lane.is_stepping:
            lane.is_stepping = True
            self._timers.call_at(now + int(self.settings.itl_seconds * 1e9), lambda due: self._step(lane, due))

    def _step(self, lane: Lane[Sequence], due: int) -> int:
        for sequence in list(lane.running):
            if sequence.work.stream and sequence.due_ns <= due and not sequence.peer.is_lagging and sequence.is_alive:
                sequence.emit(sequence, due)
        if not lane.running:
            lane.is_stepping = False
            return 0
        return due + int(step_seconds(self.settings, len(lane.running)) * 1e9)

    def _tick(self, sequence: Sequence, due: int) -> int:
        """One sequence's own clock: emit, and say when the next token is due."""
        if sequence.is_alive and not sequence.peer.is_lagging:
            sequence.emit(sequence, due)
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

    def _release(self, sequence: Sequence, now: int) -> None:
        sequence.is_alive = False
        lane = sequence.lane
        self._stats.tokens_sent += sequence.sent
        if sequence in lane.running:
            del lane.running[sequence]
        elif sequence in lane.waiting:
            lane.waiting.remove(sequence)
            self._waiting -= 1
        lane.touch(now)
        if self._waiting:
            self._admit(lane, now)
            if self.residency.has_loads and lane.is_idle:
                for other in self.residency.lanes.values():  # one that waited for memory may load now
                    self._admit(other, now)
