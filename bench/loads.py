"""Shell. Two loads that `compare` holds steady while something else is measured: JSON in a closed loop, open streams.

Both are told when the window opens and closes, and count only what happens within it.
"""

import random
import time
from dataclasses import dataclass, field

from bench.answers import Answer, TokenStream
from bench.client import Client, Job
from bench.reactor import Reactor


@dataclass(slots=True)
class Window:
    """What a load did between `open_window` and `close_window`."""

    count: int = 0  # requests or tokens
    seconds: float = 0.0
    delays_ns: list[int] = field(default_factory=list)  # request latencies, or arrival minus stamp per token
    errors: list[str] = field(default_factory=list)


class JsonLoad:
    """`connections` keep-alive connections, each sending its next request when the last is answered."""

    def __init__(self, client: Client, payload: bytes, connections: int) -> None:
        self._client = client
        self._payload = payload
        self._connections = connections
        self._is_running = False
        self._window_at = 0
        self._latencies: list[int] = []
        self._errors: list[str] = []
        self._since_ns = 0

    def open(self) -> None:
        self._is_running = True
        for _ in range(self._connections):
            self._send()

    def _send(self) -> None:
        self._client.start(Job(self._payload, Answer(), self._done))

    def _done(self, job: Job) -> None:
        status = job.answer.status
        if job.error or status != 200:
            body = job.answer.body[:200].decode("utf-8", "replace")
            self._errors.append(job.error or f"status {status}: {body}")
        else:
            self._latencies.append(job.ended_ns - job.sent_ns)
        if self._is_running and len(self._errors) < 100:
            self._send()

    def open_window(self) -> None:
        self._since_ns = time.monotonic_ns()
        self._window_at = len(self._latencies)

    def close_window(self) -> Window:
        latencies = self._latencies[self._window_at :]
        return Window(len(latencies), (time.monotonic_ns() - self._since_ns) / 1e9, latencies, self._errors)

    def close(self) -> None:
        self._is_running = False
        self._client.close()


class StreamLoad:
    """`streams` open streams, started spread over `ramp_seconds`, that outlast the window."""

    def __init__(self, client: Client, payload: bytes, streams: int, reactor: Reactor, seed: int = 1) -> None:
        self._client = client
        self._payload = payload
        self._streams = streams
        self._reactor = reactor
        self._random = random.Random(seed)
        self._delays: list[int] = []
        self._jobs: list[Job] = []
        self._errors: list[str] = []
        self._window_at = 0
        self._since_ns = 0

    def open(self, ramp_seconds: float) -> None:
        now = time.monotonic_ns()
        for index in range(self._streams):
            # Jittered: evenly spaced starts would put the streams' clocks into a few phases only.
            offset = (index + self._random.random()) / self._streams * ramp_seconds
            self._reactor.call_at(now + int(offset * 1e9), self._open_one)

    def _open_one(self, _due: int) -> int:
        job = Job(self._payload, TokenStream(self._delays.append), self._done)
        self._jobs.append(job)
        self._client.start(job)
        return 0

    def _done(self, job: Job) -> None:
        body = job.answer.body[:200].decode("utf-8", "replace")
        self._errors.append(job.error or f"ended early, status {job.answer.status} {body}")

    @property
    def flowing(self) -> int:
        return sum(1 for job in self._jobs if isinstance(job.answer, TokenStream) and job.answer.tokens)

    def open_window(self) -> None:
        self._since_ns = time.monotonic_ns()
        self._window_at = len(self._delays)

    def close_window(self) -> Window:
        delays = self._delays[self._window_at :]
        seconds = (time.monotonic_ns() - self._since_ns) / 1e9
        missing = self._streams - self.flowing
        errors = self._errors + [f"{missing} of {self._streams} streams never sent a token"] * bool(missing)
        for job in self._jobs:
            stream = job.answer
            if isinstance(stream, TokenStream) and (stream.out_of_order or stream.events_altered):
                errors.append(
                    f"stream {stream.stream_id}: {stream.out_of_order} out of order, {stream.events_altered} altered"
                )
        return Window(len(delays), seconds, delays, errors)

    def close(self) -> None:
        self._client.close()
