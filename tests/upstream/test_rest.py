"""What is left of a body after its answer: dropped, bounded, and its connection used again if it ended well."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mrproxy.config import Settings
from mrproxy.counters import Counters
from mrproxy.errors import BackendError, Code, Phase
from mrproxy.sockets import GONE, IN, RECEIVE_BYTES, Poller
from mrproxy.upstream.live import Pump
from mrproxy.upstream.pool import Connection, Pool
from mrproxy.upstream.rest import Rest
from mrproxy.wire.chunked import ChunkedDecoder


@dataclass
class Scene:
    pump: Pump
    pool: Pool
    connection: Connection
    engine: socket.socket

    def leave(self, *, missing: int = 0, is_chunked: bool = True, may_be_there: bool = False) -> Rest:
        decoder = ChunkedDecoder() if is_chunked else None
        return Rest(self.pump, self.connection, decoder, missing, 100.0, may_be_there=may_be_there)

    @property
    def state(self) -> str:
        if self.connection in self.pool.idle:
            return "pooled"
        return "closed" if self.connection.fd < 0 else "waiting"


@pytest.fixture
def scene() -> Iterator[Scene]:
    poller = Poller(lambda source, error: None)
    pool = Pool(poller, 4, 60.0)
    ours, engine = socket.socketpair()
    ours.setblocking(False)
    connection = pool.add(ours)
    try:
        yield Scene(Pump(poller, Settings(), Counters(), b""), pool, connection, engine)
    finally:
        connection.close()
        engine.close()
        poller.close()


@pytest.mark.parametrize("pieces", [[b"0\r\n\r\n"], [b"0", b"\r\n\r", b"\n"], [b"4\r\n: x\n\r\n", b"0\r\n\r\n"]])
def test_a_body_that_ends_well_gives_its_connection_back(scene: Scene, pieces: list[bytes]) -> None:
    rest = scene.leave()
    for number, piece in enumerate(pieces, 1):
        assert scene.state == "waiting"
        assert scene.pump.relays == {rest}
        scene.engine.send(piece)
        rest.on_ready(IN, 100.0 + number)
    assert (scene.state, scene.pump.relays) == ("pooled", set())
    assert scene.connection.idle_since_at == 100.0 + len(pieces)
    assert scene.pump.poller.sources[scene.connection.fd] is scene.connection


def test_a_body_with_a_length_ends_with_its_last_byte(scene: Scene) -> None:
    rest = scene.leave(missing=5, is_chunked=False)
    scene.engine.send(b"abc")
    rest.on_ready(IN, 100.0)
    assert scene.state == "waiting"
    scene.engine.send(b"de")
    rest.on_ready(IN, 100.0)
    assert scene.state == "pooled"


@pytest.mark.parametrize(
    ("data", "is_chunked"),
    [
        (b"", True),
        (b"zz\r\n", True),
        (b"0\r\n\r\nHTTP/1.1 200 OK\r\n", True),
        (b"%x\r\n%b\r\n" % (2 * 65536, b"x" * 2 * 65536), True),
        (b"abcdef", False),
    ],
    ids=["closed", "no coding", "something follows", "too much", "too long"],
)
def test_whatever_is_odd_closes_the_connection(scene: Scene, data: bytes, is_chunked: bool) -> None:
    rest = scene.leave(missing=5 * (not is_chunked), is_chunked=is_chunked)
    scene.engine.setblocking(False)
    position = 0
    while position < len(data):
        position += scene.engine.send(data[position : position + 30_000])
        rest.on_ready(IN, 100.0)
        if scene.state == "closed":
            break
    if not data:
        scene.engine.close()
        rest.on_ready(IN, 100.0)
    assert (scene.state, scene.pump.relays) == ("closed", set())
    rest.on_ready(IN, 100.0)  # an event that had been fetched already


def test_a_connection_that_ends_with_the_body_is_not_kept(scene: Scene) -> None:
    rest = scene.leave()
    scene.engine.send(b"0\r\n\r\n")
    scene.engine.shutdown(socket.SHUT_WR)
    rest.on_ready(IN | GONE, 100.0)
    assert scene.state == "closed"


def test_it_waits_for_so_long_and_no_longer(scene: Scene) -> None:
    rest = scene.leave()
    rest.check(110.0)
    assert scene.state == "waiting"
    rest.check(110.1)
    assert (scene.state, scene.pump.relays) == ("closed", set())


def test_a_backend_that_is_withdrawn_keeps_nothing(scene: Scene) -> None:
    scene.leave().fail(BackendError(Code.BACKEND_WITHDRAWN, "gone", phase=Phase.STREAM, retryable=False))
    assert (scene.state, scene.pump.relays) == ("closed", set())


def test_a_bug_costs_the_connection_alone(scene: Scene) -> None:
    scene.leave().crash()
    assert (scene.state, scene.pump.relays) == ("closed", set())


def test_what_came_before_it_is_looked_for_without_an_event(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    again: list[object] = []
    monkeypatch.setattr(scene.pump.poller, "again", again.append)
    rest = scene.leave(may_be_there=True)
    assert again == [rest]


def test_a_full_read_may_hide_the_next_answer(scene: Scene) -> None:
    """Its connection would go on with bytes in it."""
    size = RECEIVE_BYTES
    rest = scene.leave(missing=size, is_chunked=False)
    scene.engine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * size)
    scene.engine.setblocking(False)
    if scene.engine.send(b"x" * size) == size:
        rest.on_ready(IN, 100.0)
        assert scene.state == "closed"


def test_it_is_no_sign_of_life(scene: Scene) -> None:
    assert scene.leave().answer is None
