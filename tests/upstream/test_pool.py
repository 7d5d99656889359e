"""Keep-alive connections: last in first out, dead ones leave by themselves, every socket is closed once."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import trio

from mrproxy.sockets import IN, OUT, Poller, Source
from mrproxy.upstream.pool import Connection, Pool


class Wires:
    """A pool, its poller, and the far ends of its connections."""

    def __init__(self, stack: ExitStack) -> None:
        self.crashes: list[Exception] = []
        self._stack = stack
        self.poller = Poller(self._crashed)
        stack.callback(self.poller.close)
        self.pool = Pool(self.poller, max_idle=3, idle_seconds=60)
        stack.callback(self.pool.close_idle)

    def _crashed(self, source: Source, error: Exception) -> None:
        self.crashes.append(error)

    def connect(self) -> tuple[Connection, socket.socket]:
        near, far = socket.socketpair()
        near.setblocking(False)
        self._stack.callback(far.close)
        connection = self.pool.add(near)
        self._stack.callback(connection.close)
        return connection, far


@pytest.fixture
def wires() -> Iterator[Wires]:
    with ExitStack() as stack:
        yield Wires(stack)


def test_the_connection_used_last_is_taken_first(wires: Wires) -> None:
    first, second = wires.connect()[0], wires.connect()[0]
    first.give_back(1.0)
    second.give_back(2.0)
    assert (wires.pool.idle_connections, wires.pool.open_connections) == (2, 2)
    assert [wires.pool.take(), wires.pool.take(), wires.pool.take()] == [second, first, None]
    assert first.is_reused
    assert wires.pool.open_connections == 2


def test_a_new_connection_is_not_a_reused_one(wires: Wires) -> None:
    connection, _ = wires.connect()
    assert not connection.is_reused
    assert wires.pool.take() is None


def test_more_than_the_most_are_closed(wires: Wires) -> None:
    connections = [wires.connect()[0] for _ in range(4)]
    for connection in connections:
        connection.give_back(1.0)
    assert (wires.pool.idle_connections, wires.pool.open_connections) == (3, 3)
    assert connections[3].sock.fileno() == -1


@pytest.mark.parametrize("flags", [IN, select.EPOLLRDHUP, select.EPOLLHUP, select.EPOLLERR, IN | OUT])
def test_whatever_happens_to_an_idle_connection_it_is_dead(wires: Wires, flags: int) -> None:
    connection, _ = wires.connect()
    connection.give_back(1.0)
    connection.on_ready(flags, 2.0)
    assert (wires.pool.idle_connections, wires.pool.open_connections) == (0, 0)
    assert connection.sock.fileno() == -1
    assert not any(wires.poller.sources)


def test_room_to_write_is_no_news(wires: Wires) -> None:
    connection, _ = wires.connect()
    connection.give_back(1.0)
    connection.on_ready(OUT, 2.0)
    assert wires.pool.take() is connection


def test_closing_twice_closes_once(wires: Wires) -> None:
    connection, _ = wires.connect()
    connection.close()
    connection.close()
    assert wires.pool.open_connections == 0


def test_a_detached_socket_is_its_new_owners(wires: Wires) -> None:
    connection, far = wires.connect()
    with connection.detach() as sock:
        assert (wires.pool.open_connections, any(wires.poller.sources)) == (0, False)
        connection.close()
        sock.send(b"still open")
        assert far.recv(100) == b"still open"


def test_sweeping_closes_what_was_idle_for_too_long(wires: Wires) -> None:
    old, young = wires.connect()[0], wires.connect()[0]
    old.give_back(0.0)
    young.give_back(30.0)
    wires.pool.sweep(60.0)
    assert wires.pool.idle_connections == 2
    wires.pool.sweep(60.5)
    assert (wires.pool.idle_connections, old.sock.fileno()) == (1, -1)
    wires.pool.close_idle()
    assert (wires.pool.idle_connections, wires.pool.open_connections) == (0, 0)


async def test_an_idle_connection_that_its_backend_closes_is_never_taken(wires: Wires) -> None:
    dead, far = wires.connect()
    alive, _ = wires.connect()
    alive.give_back(1.0)
    dead.give_back(2.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(wires.poller.run)
        far.close()
        while wires.pool.open_connections == 2:
            await trio.sleep(0)
        assert wires.pool.take() is alive
        nursery.cancel_scope.cancel()
    assert wires.crashes == []


async def test_a_new_connection_that_dies_before_its_first_exchange_stays_its_takers(wires: Wires) -> None:
    connection, far = wires.connect()
    idle, idle_far = wires.connect()
    idle.give_back(1.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(wires.poller.run)
        far.close()
        idle_far.close()
        while wires.pool.idle_connections:
            await trio.sleep(0)
        nursery.cancel_scope.cancel()
    assert wires.crashes == []
    assert connection.sock.fileno() >= 0
    connection.close()
    assert wires.pool.open_connections == 0
