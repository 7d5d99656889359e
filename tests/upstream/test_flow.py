"""A token's way through real sockets: every read goes out as it came, in one write, however long its events are."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.exchange import Exchange
from mrproxy.config import Settings
from mrproxy.counters import Counters
from mrproxy.dialects.usage import SseTap, Usage
from mrproxy.sockets import GONE, IN, OUT, RECEIVE_BYTES, Lagging, Poller
from mrproxy.upstream.flow import SHORT_READ_BYTES
from mrproxy.upstream.live import Pump
from mrproxy.upstream.pool import Pool
from mrproxy.upstream.pump import Outcome, Relay
from tests.fakes.behaviours import LAST_CHUNK, STREAM_HEAD, chunk, event, usage_event
from tests.fuzzing import fuzz, split_at

_OVERHEAD_BYTES = len(chunk(event("")))
_READY = IN | OUT
_AT_ONCE_BYTES = 150_000


@dataclass
class FakeClient:
    """Its socket's writes, each by itself; `room_bytes` is what it still takes."""

    writes: list[bytes] = field(default_factory=list)
    room_bytes: int = 1 << 40
    is_gone: bool = False
    is_draining: bool = False
    lagging: Lagging | None = None

    @property
    def sock(self) -> "FakeClient":
        return self

    def fileno(self) -> int:
        return -1

    def send(self, data: bytes, /) -> int:
        if self.is_gone:
            raise BrokenPipeError
        if not self.room_bytes:
            raise BlockingIOError
        taken = data[: self.room_bytes]
        self.room_bytes -= len(taken)
        self.writes.append(taken)
        return len(taken)


class Ending:
    """How the relay ended."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def wake(self, outcome: Outcome, /) -> None:
        self.outcomes.append(outcome)


@dataclass
class Scene:
    """A relay whose client has the head and the first event."""

    relay: Relay
    engine: socket.socket
    pool: Pool
    counters: Counters
    poller: Poller
    client: FakeClient
    outcomes: list[Outcome]
    now: float = 100.0

    def arrive(self, data: bytes, flags: int = _READY) -> list[bytes]:
        """Sent by the engine at once; what the client was written because of it."""
        self.client.writes.clear()
        for start in range(0, len(data), _AT_ONCE_BYTES):  # what a socket of any machine takes
            self.engine.sendall(data[start : start + _AT_ONCE_BYTES])
            self.now += 0.02
            self.relay.on_ready(flags, self.now)
            while self.poller._again:
                self.poller._serve_again()
        return list(self.client.writes)

    @property
    def gaps(self) -> int:
        return sum(self.counters.inter_token.counts)


@contextmanager
def flowing(*, cuts: bool = True) -> Iterator[Scene]:
    poller = Poller(lambda source, error: None)
    pool = Pool(poller, 4, 60.0)
    ours, engine = socket.socketpair()
    ours.setblocking(False)
    for sock in (ours, engine):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    connection = pool.add(ours)
    counters = Counters()
    exchange = Exchange(b"r", 0.0, "openai", "chat")
    exchange.streams = True
    client, ending = FakeClient(), Ending()
    relay = Relay(Pump(poller, Settings(), counters, b""), connection, client, exchange, SseTap(cuts), 60.0, ending)
    scene = Scene(relay, engine, pool, counters, poller, client, ending.outcomes)
    try:
        relay.start(b"request", scene.now)
        assert engine.recv(100) == b"request"
        assert b"200" in scene.arrive(STREAM_HEAD + chunk(event("first")))[0]
        yield scene
    finally:
        relay.abandon()
        pool.close_idle()
        engine.close()
        poller.close()


def chunk_of(total_bytes: int) -> bytes:
    """A chunk with one event, so long in all; two lengths near a power of 16 have none, they get one byte more."""
    text = "x" * (total_bytes - _OVERHEAD_BYTES)
    whole = chunk(event(text))
    return whole if len(whole) == total_bytes else chunk(event(text[: total_bytes - len(whole)]))


def payload_of(writes: list[bytes]) -> bytes:
    """Without the framing: no event of these tests holds what looks like it."""
    return re.sub(rb"(?:\A|\r\n)[0-9a-f]+\r\n", b"", b"".join(writes)).removesuffix(b"\r\n")


_LENGTHS = [
    200, SHORT_READ_BYTES - 1, SHORT_READ_BYTES, SHORT_READ_BYTES + 1, 2 * SHORT_READ_BYTES, 4096, 8190, 8210,
    RECEIVE_BYTES - 1, RECEIVE_BYTES, RECEIVE_BYTES + 1, RECEIVE_BYTES + 20_000,
]  # fmt: skip


@pytest.mark.parametrize("length", _LENGTHS)
def test_an_event_of_any_length_is_one_write(length: int) -> None:
    with flowing() as scene:
        data = chunk_of(length)
        for count in range(2, 5):
            assert scene.arrive(data) == [data]
            assert scene.gaps == count - 1 or length > RECEIVE_BYTES  # a gap is between two reads
        scene.arrive(chunk(usage_event()) + LAST_CHUNK)
        assert scene.outcomes == [Outcome.COMPLETE]
        assert scene.relay.exchange.answer_bytes > 3 * len(data)
        assert scene.pool.idle_connections == 1


@pytest.mark.parametrize("count", [2, 3, 40, 2000])
def test_events_that_come_together_leave_together(count: int) -> None:
    with flowing() as scene:
        data = b"".join(chunk(event(f"token {number}")) for number in range(count))
        writes = scene.arrive(data)
        assert payload_of(writes) == b"".join(event(f"token {number}") for number in range(count))
        assert len(writes) <= 2 + len(data) // RECEIVE_BYTES
        assert scene.arrive(chunk(event("one"))) == [chunk(event("one"))]
        scene.relay.abandon()
        assert scene.relay._tap.events == count + 2


def test_the_usage_among_others_is_cut_and_read() -> None:
    with flowing() as scene:
        assert payload_of(scene.arrive(chunk(event("a")) + chunk(usage_event(5, 7)) + chunk(event("b")))) == (
            event("a") + event("b")
        )
        scene.arrive(chunk(usage_event(5, 9)))
        assert scene.client.writes == []
        assert scene.relay._tap.usage == Usage(5, 9)


def test_what_the_client_does_not_take_waits_and_nothing_is_read_meanwhile() -> None:
    with flowing() as scene:
        token = chunk(event("x" * 100))
        scene.client.room_bytes = 50
        assert scene.arrive(token) == [token[:50]]
        assert scene.client.lagging is scene.relay
        assert scene.arrive(token) == []
        scene.client.room_bytes = 1 << 30
        scene.relay.on_client_writable(scene.now)
        assert b"".join(scene.client.writes) == token[50:] + token
        assert scene.client.lagging is None
        assert scene.arrive(token) == [token]


def test_a_client_that_is_gone_ends_it() -> None:
    with flowing() as scene:
        scene.client.is_gone = True
        scene.arrive(chunk(event("x")))
        assert scene.outcomes == [Outcome.CLIENT_GONE]
        assert scene.pool.open_connections == 0


@pytest.mark.parametrize("flags", [_READY, _READY | GONE])
def test_an_engine_that_closes_in_the_middle_is_heard_whatever_the_event_says(flags: int) -> None:
    with flowing() as scene:
        scene.engine.sendall(chunk(event("x")))
        scene.engine.shutdown(socket.SHUT_WR)
        for _ in range(2):
            scene.relay.on_ready(flags, scene.now)
        assert payload_of(scene.client.writes).endswith(event("x"))
        assert scene.outcomes == [Outcome.FAILED]
        scene.relay.on_ready(flags, scene.now)  # served once more: nothing happens
        assert scene.outcomes == [Outcome.FAILED]


def test_an_engine_that_closes_behind_many_full_reads_is_heard() -> None:
    """The last full read ends where an event does, and what is left makes no event any more."""
    with flowing() as scene:
        whole = chunk_of(4096)
        scene.engine.sendall(whole * (4 * RECEIVE_BYTES // len(whole)) + chunk(event("last")))
        scene.engine.shutdown(socket.SHUT_WR)
        scene.relay.on_ready(_READY | GONE, scene.now)
        while scene.poller._again:
            scene.poller._serve_again()
        assert payload_of(scene.client.writes).endswith(event("last"))
        assert scene.outcomes == [Outcome.FAILED]


def test_after_its_end_it_reads_nobody_elses_answer() -> None:
    with flowing() as scene:
        scene.arrive(chunk(usage_event()) + LAST_CHUNK)
        assert scene.outcomes == [Outcome.COMPLETE]
        assert scene.arrive(chunk(event("another's"))) == []


@fuzz(60)
@given(
    st.lists(st.integers(0, 1200) | st.sampled_from([SHORT_READ_BYTES - _OVERHEAD_BYTES, 70_000]), max_size=12),
    st.lists(st.integers(0, 100_000), max_size=8),
    st.booleans(),
)
def test_the_payload_is_the_same_however_it_is_cut(lengths: list[int], places: list[int], cuts: bool) -> None:
    events = [event("x" * length) for length in lengths]
    data = b"".join(map(chunk, [*events, usage_event(1, 2)])) + LAST_CHUNK
    with flowing(cuts=cuts) as scene:
        writes = [write for piece in split_at(data, places) for write in scene.arrive(piece)]
        assert b"".join(writes).endswith(LAST_CHUNK)
        expected = b"".join(events) + (b"" if cuts else usage_event(1, 2))
        assert payload_of([b"".join(writes)[: -len(LAST_CHUNK)]]) == expected
        assert scene.outcomes == [Outcome.COMPLETE]
        assert scene.relay._tap.usage == Usage(1, 2)
        assert scene.relay._tap.events == len(events) + 1
