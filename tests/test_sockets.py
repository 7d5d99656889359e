"""The poller, its border and its manners towards trio; accepting, connecting and bridging on loopback."""

import fcntl
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from mrproxy import sockets
from mrproxy.sockets import GONE, IN, OUT, RECEIVE_BYTES, Poller, Source, accept_some, bridge, connect_tcp, connect_unix


class Bug(Exception):
    pass


class Reader:
    """A source that reads what there is; `react` is called with it."""

    def __init__(self, sock: socket.socket, react: Callable[[bytes], None] = lambda data: None) -> None:
        self.sock = sock
        self.react = react
        self.seen: list[bytes] = []
        self.flags = 0

    def on_ready(self, flags: int, now: float) -> None:
        self.flags |= flags
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        self.seen.append(data)
        self.react(data)


class Bench:
    """A running poller, pairs of sockets, and what crashed."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.crashes: list[tuple[Source, Exception]] = []
        self.poller = Poller(lambda source, error: self.crashes.append((source, error)))
        stack.callback(self.poller.close)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
            self._stack.callback(sock.close)
        return near, far

    def reader(self, react: Callable[[bytes], None] = lambda data: None) -> tuple[Reader, socket.socket]:
        near, far = self.pair()
        reader = Reader(near, react)
        self.poller.register(near.fileno(), reader)
        return reader, far


@pytest.fixture
def idle_bench() -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(stack)


@pytest.fixture
async def bench(idle_bench: Bench) -> AsyncIterator[Bench]:
    async with trio.open_nursery() as nursery:
        await nursery.start(idle_bench.poller.run)
        yield idle_bench
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await trio.sleep(0)


async def test_what_arrives_is_served(bench: Bench) -> None:
    reader, far = bench.reader()
    far.send(b"one")
    await until(lambda: reader.seen)
    far.send(b"two")
    await until(lambda: len(reader.seen) == 2)
    assert reader.seen == [b"one", b"two"]


async def test_descriptors_of_any_size_have_their_source_and_a_closed_one_has_none(bench: Bench) -> None:
    near, _ = bench.pair()
    poller, reader = bench.poller, Reader(near, lambda data: None)
    poller.sources[-1] = reader  # by who holds a closed connection
    high = fcntl.fcntl(near.fileno(), fcntl.F_DUPFD, 2 * len(poller.sources))
    try:
        poller.register(high, reader)
        assert [source for source in poller.sources if source is not None] == [reader]
        assert poller.is_registered(high)
        assert not poller.is_registered(-1)
        poller.unregister(high)
        poller.unregister(high)
        poller.unregister(-1)
        assert not any(poller.sources)
    finally:
        os.close(high)


async def test_room_to_write_and_a_departure_are_told(bench: Bench) -> None:
    reader, far = bench.reader()
    await until(lambda: reader.flags & OUT)
    assert not reader.flags & GONE
    far.shutdown(socket.SHUT_WR)
    await until(lambda: reader.flags & GONE)


async def test_who_stops_early_is_served_again_when_it_asks(bench: Bench) -> None:
    left = [3]

    def once_more(data: bytes) -> None:
        left[0] -= 1
        if left[0]:
            far.send(b"x")  # an event of its own would come, too; what counts is that `again` is bounded
            bench.poller.again(reader)

    reader, far = bench.reader(once_more)
    far.send(b"x")
    await until(lambda: left[0] == 0)
    assert reader.seen == [b"x"] * 3


async def test_asking_again_needs_no_event(bench: Bench) -> None:
    class Asker:
        served = 0

        def on_ready(self, flags: int, now: float) -> None:
            assert flags == IN
            self.served += 1
            if self.served < 5:
                bench.poller.again(self)

    asker = Asker()
    bench.poller.again(asker)
    _reader, far = bench.reader()
    far.send(b"wake up")
    await until(lambda: asker.served == 5)
    assert bench.crashes == []


async def test_a_bug_in_one_source_stops_no_other(bench: Bench) -> None:
    def fail(data: bytes) -> None:
        raise Bug

    bad, to_bad = bench.reader(fail)
    good, to_good = bench.reader()
    for _ in range(2):
        to_bad.send(b"x")
        to_good.send(b"x")
        await until(lambda: bad.seen and good.seen)
        bench.poller.again(bad)
        to_bad.send(b"y")
        to_good.send(b"y")
        await until(lambda: good.seen[-1] == b"y" and len(bench.crashes) >= 2)
    assert all(source is bad and isinstance(error, Bug) for source, error in bench.crashes)


async def test_an_unregistered_source_hears_nothing(bench: Bench) -> None:
    reader, far = bench.reader()
    other, to_other = bench.reader()
    bench.poller.unregister(reader.sock.fileno())
    bench.poller.unregister(reader.sock.fileno())
    far.send(b"x")
    to_other.send(b"x")
    await until(lambda: other.seen)
    assert reader.seen == []


async def test_a_source_removed_by_another_in_the_same_batch_hears_nothing(idle_bench: Bench) -> None:
    first, second = socket.socketpair(), socket.socketpair()
    served = []

    class Remover:
        def __init__(self, mine: int, others: int) -> None:
            self.mine, self.others = mine, others

        def on_ready(self, flags: int, now: float) -> None:
            served.append(self.mine)
            idle_bench.poller.unregister(self.others)

    with first[0], first[1], second[0], second[1]:
        one, two = first[0].fileno(), second[0].fileno()
        idle_bench.poller.register(one, Remover(one, two))
        idle_bench.poller.register(two, Remover(two, one))
        async with trio.open_nursery() as nursery:
            await nursery.start(idle_bench.poller.run)
            await until(lambda: served)
            nursery.cancel_scope.cancel()
    assert len(served) == 1


async def test_another_task_gets_its_turns_while_events_keep_coming(bench: Bench) -> None:
    def send_another(data: bytes) -> None:
        far.send(b"x")

    reader, far = bench.reader(send_another)
    far.send(b"x")
    for _ in range(200):
        await trio.sleep(0)
    seen = len(reader.seen)
    await until(lambda: len(reader.seen) > seen)


async def test_asking_again_for_ever_keeps_nobody_from_a_turn(bench: Bench) -> None:
    class Greedy:
        served = 0

        def on_ready(self, flags: int, now: float) -> None:
            self.served += 1
            bench.poller.again(self)

    greedy = Greedy()
    near, _far = bench.pair()
    bench.poller.register(near.fileno(), greedy)
    await until(lambda: greedy.served > 10)
    for _ in range(50):
        await trio.sleep(0)


class Endless:
    """A source that keeps the poller busy; `rounds` later it wakes `far`'s other end."""

    goes_on = True

    def __init__(self, bench: Bench, far: socket.socket, rounds: int = 100) -> None:
        self.bench = bench
        self.far = far
        self.left = rounds

    def on_ready(self, flags: int, now: float) -> None:
        self.left -= 1
        if not self.left:
            self.far.send(b"x")
        if self.goes_on:
            self.bench.poller.again(self)


async def wait_for_a_socket_of_trios(bench: Bench) -> None:
    near, far = bench.pair()
    keeper, _ = bench.pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.lowlevel.wait_readable, near)
        await wait_all_tasks_blocked()
        bench.poller.register(keeper.fileno(), Endless(bench, far))


async def test_a_socket_of_trios_ends_a_turn_however_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_SHORT_TURN_SECONDS", 0.0)
    monkeypatch.setattr(sockets, "_TURN_SECONDS", 1e9)
    await wait_for_a_socket_of_trios(bench)


async def test_turns_stay_short_where_trios_sockets_are_out_of_reach(
    idle_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "trio_epoll_fd", lambda: -1)
    monkeypatch.setattr(sockets, "_TURN_SECONDS", 1e9)
    async with trio.open_nursery() as nursery:
        await nursery.start(idle_bench.poller.run)
        await wait_for_a_socket_of_trios(idle_bench)
        nursery.cancel_scope.cancel()


async def test_a_poller_that_ends_while_it_is_busy_leaves_nothing_behind(idle_bench: Bench) -> None:
    poller = idle_bench.poller
    async with trio.open_nursery() as nursery:
        await nursery.start(poller.run)
        await wait_for_a_socket_of_trios(idle_bench)
        await until(lambda: any(not isinstance(source, Endless) for source in filter(None, poller.sources)))
        nursery.cancel_scope.cancel()
    assert all(isinstance(source, Endless) for source in filter(None, poller.sources))


async def test_this_version_of_trio_lets_us_see_its_sockets() -> None:
    assert sockets.trio_epoll_fd() > 0


async def test_a_poller_is_idle_and_busy_by_turns(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trio watches it, and it watches trio; never both."""
    for _ in range(3):
        monkeypatch.setattr(Endless, "goes_on", True)
        await wait_for_a_socket_of_trios(bench)
        monkeypatch.setattr(Endless, "goes_on", False)
        reader, far = bench.reader()
        await wait_all_tasks_blocked(0.01)
        far.send(b"x")
        while not reader.seen:
            await trio.sleep(0.001)
        assert not bench.crashes


async def test_tasks_that_were_waiting_for_their_turn_at_the_start_do_not_make_it_deaf(idle_bench: Bench) -> None:
    """Rounds of the poller between two turns of a task, however many tasks were runnable when it began."""

    async def turn() -> None:
        await trio.sleep(0)

    class Busy:
        served = 0

        def on_ready(self, flags: int, now: float) -> None:
            self.served += 1
            idle_bench.poller.again(self)

    busy = Busy()
    near, _ = idle_bench.pair()
    idle_bench.poller.register(near.fileno(), busy)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idle_bench.poller.run)
        for _ in range(20):
            nursery.start_soon(turn)
        await until(lambda: busy.served > 100)
        before = busy.served
        for _ in range(10):
            await trio.sleep(0)
        rounds = busy.served - before
        nursery.cancel_scope.cancel()
    assert rounds < 200


async def test_batches_are_followed_by_what_is_cheaper_done_for_many(bench: Bench) -> None:
    during: list[bool] = []
    after: list[bool] = []
    bench.poller.after_batch = lambda: after.append(bench.poller.is_serving)

    def served(data: bytes) -> None:
        during.append(bench.poller.is_serving)
        bench.poller.has_ended = data == b"x"

    _reader, far = bench.reader(served)
    far.send(b"y")
    await until(lambda: during)
    assert not after, "nothing ended in that batch"
    far.send(b"x")
    await until(lambda: len(during) == 2 and after)
    assert (during, after) == ([True, True], [False])
    assert not bench.poller.has_ended


async def test_the_clock_is_trios(autojump_clock: trio.testing.MockClock, bench: Bench) -> None:
    assert bench.poller.clock() == trio.current_time()
    await trio.sleep(1000)
    assert bench.poller.clock() == trio.current_time()


# Accepting and connecting


async def test_a_burst_of_connections_is_accepted_together() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        listener.setblocking(False)
        for _ in range(3):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        accepted = await accept_some(listener)
        assert len(accepted) == 3
        for sock, address in accepted:
            with sock:
                assert (sock.getblocking(), address) == (False, "127.0.0.1")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_unix_sockets_have_no_address(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)
        with await connect_unix(path) as near:
            ((far, address),) = await accept_some(listener)
            with far:
                assert (near.getblocking(), address) == (False, "")


async def test_connecting_tries_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as gone:
        good, bad = listener.getsockname(), gone.getsockname()
        gone.close()

        async def both(*_: object, **__: object) -> list[tuple[object, ...]]:
            kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            return [(*kind, bad), (*kind, good)]

        monkeypatch.setattr(trio.socket, "getaddrinfo", both)
        with await connect_tcp("gpu", 80) as sock:
            assert sock.getpeername() == good


async def test_nobody_there_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(OSError):
        await connect_tcp(*address)
    with pytest.raises(OSError):
        await connect_unix(str(tmp_path / "none.sock"))

    async def nobody(*_: object, **__: object) -> list[object]:
        return []

    monkeypatch.setattr(trio.socket, "getaddrinfo", nobody)
    with pytest.raises(OSError, match="no address"):
        await connect_tcp("gpu", 80)


async def test_a_cancelled_connect_leaves_no_socket(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for connect in (lambda: connect_tcp(*listener.getsockname()), lambda: connect_unix(str(tmp_path / "x"))):
            with trio.CancelScope() as scope:
                scope.cancel()
                await connect()
            assert scope.cancelled_caught  # a socket left open would be a ResourceWarning, which is an error here


# Bridging


async def test_a_bridge_copies_both_ways_until_one_side_closes() -> None:
    ours, inner = socket.socketpair()
    inner.setblocking(False)
    outer, peer = memory_stream_pair()
    near = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    async with near, trio.open_nursery() as nursery:
        nursery.start_soon(partial(bridge, outer, inner, write_idle_seconds=60))
        await peer.send_all(b"hello")
        assert await near.receive_some(100) == b"hello"
        await near.send_all(b"world")
        assert await peer.receive_some(100) == b"world"
        await peer.aclose()
        assert await near.receive_some(100) == b""


async def test_a_departure_is_seen_through_a_bridge() -> None:
    ours, inner = socket.socketpair()
    inner.setblocking(False)
    outer, peer = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(bridge, outer, inner, write_idle_seconds=60))
        await wait_all_tasks_blocked()
        ours.close()
        assert await peer.receive_some(100) == b""


@pytest.mark.parametrize("is_ended", [False, True], ids=["while it goes on", "after its end"])
async def test_whoever_takes_nothing_of_a_bridge_ends_it(
    autojump_clock: trio.testing.MockClock, *, is_ended: bool
) -> None:
    ours, inner = socket.socketpair()
    inner.setblocking(False)
    outer, peer = memory_stream_pair()
    outer.send_stream = Deaf()  # type: ignore[assignment]
    with ours:
        ours.sendall(b"x" * 1000)
        if is_ended:
            ours.shutdown(socket.SHUT_WR)
        await bridge(outer, inner, write_idle_seconds=60)
        assert 60 <= trio.current_time() < 70
    await peer.aclose()


async def test_whoever_takes_a_record_now_and_then_is_served_to_the_end(autojump_clock: trio.testing.MockClock) -> None:
    class Slow(Deaf):
        taken = 0

        async def send_all(self, data: bytes) -> None:
            await trio.sleep(50)
            self.taken += len(data)

    ours, inner = socket.socketpair()
    inner.setblocking(False)
    outer, peer = memory_stream_pair()
    outer.send_stream = slow = Slow()  # type: ignore[assignment]
    with ours:
        ours.sendall(b"x" * 60_000)
        ours.shutdown(socket.SHUT_WR)
        await bridge(outer, inner, write_idle_seconds=60)
    assert slow.taken == 60_000
    await peer.aclose()


async def test_a_bridge_takes_no_more_inward_than_it_may() -> None:
    ours, inner = socket.socketpair()
    inner.setblocking(False)
    outer, peer = memory_stream_pair()
    with ours:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(bridge, outer, inner, write_idle_seconds=60, most_inward_bytes=100))
            await peer.send_all(b"x" * 100)
            await wait_all_tasks_blocked()
            await peer.send_all(b"y")
        assert ours.recv(1000) == b"x" * 100
        assert ours.recv(1000) == b""


class Deaf(trio.abc.SendStream):
    """Nobody reads what is sent here."""

    async def send_all(self, data: bytes) -> None:
        await trio.sleep_forever()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.sleep_forever()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_a_goodbye_that_nobody_reads_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    class Slow(trio.abc.Stream):
        """A TLS stream whose peer does not answer its goodbye."""

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            return b""

        async def send_all(self, data: bytes) -> None:
            await trio.sleep_forever()

        async def wait_send_all_might_not_block(self) -> None:
            await trio.sleep_forever()

        async def aclose(self) -> None:
            await trio.sleep_forever()

    ours, inner = socket.socketpair()
    with ours:
        inner.setblocking(False)
        await bridge(Slow(), inner, write_idle_seconds=60)
        assert trio.current_time() < 10
