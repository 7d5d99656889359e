"""An engine on a hand-turned clock: timers fire when the test says so, peers note what they are sent."""

from heapq import heappop, heappush

from bench.backends.engine import Engine
from bench.backends.settings import EngineSettings
from bench.backends.stats import Stats
from bench.backends.work import Closing, Work

MILLISECOND = 1_000_000


class HandTimers:
    def __init__(self):
        self.now = 0
        self._heap = []
        self._order = 0

    def call_at(self, due_ns, callback):
        self._order += 1
        heappush(self._heap, (due_ns, self._order, callback))

    def advance(self, until_ns):
        while self._heap and self._heap[0][0] <= until_ns:
            due, _, callback = heappop(self._heap)
            self.now = max(self.now, due)
            again = callback(due)
            if again:
                self.call_at(again, callback)
        self.now = until_ns


class NotingPeer:
    def __init__(self):
        self.sent = []
        self.is_lagging = False
        self.finished = self.was_reset = self.was_closed = False

    def send(self, data):
        self.sent.append(data)

    def finish(self):
        self.finished = True

    def close(self):
        self.was_closed = True

    def reset(self):
        self.was_reset = True

    @property
    def data(self):
        return b"".join(self.sent)


def work(tokens=3, stream=True, model="m", keep_alive_seconds=None, head_at_once=False, is_dated=False, **fields):
    return Work(
        model=model,
        route="/test",
        id=f"id-{id(object())}",
        prompt_tokens=10,
        completion_tokens=tokens,
        stream=stream,
        head=b"HEAD\r\n\r\n",
        head_at_once=head_at_once,
        opening=(b"open\n",),
        event=b"t%019d \n",
        is_dated=is_dated,
        closing=lambda _timing, sent: Closing((b"end %d\n" % sent, b"usage\n"), 1),
        whole=lambda _timing, sent: b"HEAD\r\n\r\n%d" % sent,
        keep_alive_seconds=keep_alive_seconds,
        **fields,
    )


def engine_of(**settings):
    timers = HandTimers()
    stats = Stats()
    base = {"kind": "vllm", "models": ("m",), "itl_seconds": 0.010, "prefill_seconds": 0.005}
    engine = Engine(EngineSettings(**base | settings), timers, stats, lambda: timers.now)
    return engine, timers, stats
