"""Bulks: the middle of a long answer goes past the process, and nobody can tell, whatever happens to either side."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from mrproxy.canonical.exchange import Exchange
from mrproxy.sockets import GONE, IN, Lagging, Poller
from mrproxy.upstream import bulk as bulk_module
from mrproxy.upstream.bulk import BULK_BYTES, Bulk, Pipes
from tests.fakes.behaviours import LAST_CHUNK, STREAM_HEAD, answer, chat_answer, chunk, cut_into, hang, head, sized
from tests.fakes.caller import Caller, request
from tests.fakes.gateway import Gateway, run_gateway
from tests.fakes.loop_engine import Turn, run_engine

TAIL = 4096
LONG = chat_answer("x" * 3_000_000, 11, 22)
EXACT = ("exact", 11, 22)


# Two sockets and a pipe


class Ends:
    """A bulk between two socket pairs, which is what a connection with TLS is; and its owner."""

    def __init__(self, stack: ExitStack, share: int) -> None:
        self.backend, self.near_backend = pair(stack)
        self.client, self.near_client = pair(stack)
        self.crashes: list[Exception] = []
        self.poller = Poller(lambda source, error: self.crashes.append(error))
        stack.callback(self.poller.close)
        self.pipes = Pipes()
        stack.callback(self.pipes.close_idle)
        self.exchange = Exchange(b"id", 0.0, "openai", "chat")
        self.last_at = 0.0
        self.is_waiting = False
        self.lagging: Lagging | None = None
        self.resumed: list[tuple[int, int]] = []
        self.is_abandoned = False
        pipe = self.pipes.take()
        assert pipe is not None
        fds = self.near_backend.fileno(), self.near_client.fileno()
        self.bulk = Bulk(self, self.poller, self.pipes, pipe, fds[0], self, fds[1], share)
        stack.callback(self.bulk.release)

    def resume(self, left: int, flags: int, now: float) -> None:
        self.resumed.append((left, flags))

    def abandon(self) -> None:
        self.is_abandoned = True
        self.bulk.release()

    def crash(self) -> None:
        self.abandon()

    def wants_again(self) -> bool:
        return bool(self.poller._again)

    def take(self) -> bytes:
        """What the client can read now."""
        data = b""
        while True:
            try:
                piece = self.client.recv(1 << 20)
            except BlockingIOError:
                return data
            data += piece


def pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    far, near = socket.socketpair()
    for each in (far, near):
        each.setblocking(False)
        stack.callback(each.close)
    return far, near


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_bytes_pass_as_they_come_and_the_share_is_all_it_takes(stack: ExitStack) -> None:
    ends = Ends(stack, 10)
    ends.backend.send(b"abcd")
    ends.bulk.on_ready(IN, 1.0)
    assert (ends.take(), ends.exchange.answer_bytes, ends.last_at, ends.resumed) == (b"abcd", 4, 1.0, [])
    ends.backend.send(b"efghijKLM")
    ends.bulk.on_ready(IN, 2.0)
    assert (ends.take(), ends.exchange.answer_bytes, ends.resumed) == (b"efghij", 10, [(0, 0)])
    assert ends.near_backend.recv(10) == b"KLM"
    assert (ends.pipes.open_pipes, ends.pipes.idle_pipes) == (1, 1)


def test_it_moves_nothing_more_once_it_is_over(stack: ExitStack) -> None:
    ends = Ends(stack, 4)
    ends.backend.send(b"abcdefgh")
    ends.bulk.on_ready(IN, 1.0)
    ends.bulk.on_ready(IN, 1.0)
    ends.bulk.on_client_writable(1.0)
    assert (ends.take(), ends.resumed) == (b"abcd", [(0, 0)])


def test_a_full_backend_takes_turns(stack: ExitStack) -> None:
    ends = Ends(stack, 1 << 20)
    for sock in (ends.backend, ends.near_client):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    sent = 0
    while sent < 200_000:
        sent += ends.backend.send(bytes(50_000))
    moved: list[int] = []
    while not moved or ends.wants_again():
        ends.poller._again.clear()
        before = ends.exchange.answer_bytes
        ends.bulk.on_ready(IN, 1.0)
        moved.append(ends.exchange.answer_bytes - before)
    assert sum(moved) == sent
    assert max(moved) <= 262144
    assert len(ends.take()) == sent


def test_nothing_is_read_while_the_client_takes_nothing(stack: ExitStack) -> None:
    ends = Ends(stack, 10_000_000)
    ends.near_client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sent = taken = 0
    while sent < 300_000:
        try:
            sent += ends.backend.send(bytes(1000))
        except BlockingIOError:
            break
    ends.bulk.on_ready(IN, 1.0)
    assert ends.lagging is ends.bulk
    assert ends.bulk.is_lagging
    before = unread(ends.near_backend)
    ends.bulk.on_ready(IN, 2.0)
    assert unread(ends.near_backend) == before > 0
    while taken < sent:
        taken += len(ends.take())
        ends.poller._again.clear()
        (ends.bulk if ends.lagging is None else ends.lagging).on_client_writable(3.0)
    assert (taken, ends.exchange.answer_bytes, ends.lagging) == (sent, sent, None)


def unread(sock: socket.socket) -> int:
    """So many bytes could be read now."""
    return len(sock.recv(1 << 24, socket.MSG_PEEK))


def test_a_pipe_that_is_not_empty_is_closed_with_what_is_in_it(stack: ExitStack) -> None:
    ends = Ends(stack, 10_000_000)
    ends.near_client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ends.backend.send(bytes(100_000))
    ends.bulk.on_ready(IN, 1.0)
    assert ends.bulk.is_lagging
    ends.bulk.release()
    assert (ends.pipes.open_pipes, ends.lagging) == (0, None)
    ends.bulk.release()
    assert ends.pipes.open_pipes == 0


def test_the_client_has_to_take_first_what_came_before(stack: ExitStack) -> None:
    ends = Ends(stack, 10)
    ends.is_waiting = True
    ends.backend.send(b"abcd")
    ends.bulk.on_ready(IN, 1.0)
    assert ends.take() == b""
    ends.is_waiting = False
    ends.bulk.on_ready(0, 1.0)
    assert ends.take() == b"abcd"


def test_a_client_that_is_gone_abandons_the_answer(stack: ExitStack) -> None:
    ends = Ends(stack, 10)
    ends.client.close()
    ends.backend.send(b"abcd")
    ends.bulk.on_ready(IN, 1.0)
    assert (ends.is_abandoned, ends.pipes.open_pipes, ends.resumed) == (True, 0, [])


def test_an_end_before_the_end_is_the_owners_to_find(stack: ExitStack) -> None:
    ends = Ends(stack, 10)
    ends.backend.send(b"abcd")
    ends.backend.close()
    ends.bulk.on_ready(IN | GONE, 1.0)
    assert (ends.take(), ends.resumed[0][0]) == (b"abcd", 6)
    assert ends.resumed[0][1] & GONE


def test_sockets_that_cannot_do_it_are_the_owners_again(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Ends(stack, 10)
    monkeypatch.setattr(bulk_module, "splice", unsupported)
    ends.backend.send(b"abcd")
    ends.bulk.on_ready(IN, 1.0)
    assert ends.resumed == [(10, 0)]
    assert ends.near_backend.recv(10) == b"abcd"


def unsupported(*_: object, **__: object) -> int:
    raise OSError(errno.EINVAL, "no")


# Pipes


def test_pipes_are_used_again_and_few_are_kept() -> None:
    pipes = Pipes()
    taken = [pipe for _ in range(10) if (pipe := pipes.take()) is not None]
    assert (len(taken), pipes.open_pipes) == (10, 10)
    for pipe in taken:
        pipes.give_back(pipe, is_empty=True)
    assert pipes.open_pipes == pipes.idle_pipes == 4
    assert pipes.take() in taken
    assert pipes.open_pipes == 4
    pipes.close_idle()
    assert (pipes.open_pipes, pipes.idle_pipes) == (1, 0)


def test_there_are_so_many_pipes_and_no_more() -> None:
    pipes = Pipes()
    taken = [pipe for _ in range(100) if (pipe := pipes.take()) is not None]
    assert len(taken) == 64
    for pipe in taken:
        pipes.give_back(pipe, is_empty=False)
    assert pipes.open_pipes == 0


def test_without_descriptors_there_is_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pipes = Pipes()
    monkeypatch.setattr(os, "pipe2", unsupported)
    assert (pipes.take(), pipes.open_pipes) == (None, 0)


def test_a_pipe_that_may_not_grow_is_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pipes = Pipes()
    monkeypatch.setattr("fcntl.fcntl", unsupported)
    pipe = pipes.take()
    assert pipe is not None
    pipes.give_back(pipe, is_empty=False)


# Through a whole gateway


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Bulk]:
    """All bulks of a test."""
    found: list[Bulk] = []
    begin = Bulk.__init__

    def remembered(self: Bulk, *arguments: Any) -> None:
        found.append(self)
        begin(self, *arguments)

    monkeypatch.setattr(Bulk, "__init__", remembered)
    return found


def pipes_of(gateway: Gateway) -> Pipes:
    return gateway.backend().pump.pipes


@pytest.mark.slow
@pytest.mark.parametrize("rest", [BULK_BYTES - 1, BULK_BYTES, BULK_BYTES + 1, 200_000, 8 << 20])
async def test_an_answer_of_any_length_is_the_same_to_the_byte(tmp_path: Path, made: list[Bulk], rest: int) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        body = chat_answer("é" * ((rest + 100) // 6), 11, 22).ljust(rest + 100)
        engine.behaviour = answer(sized(body)[:-rest], body[-rest:])
        caller = await gateway.connect()
        for count in (1, 2):  # the second one goes the express way
            await caller.ask()
            got = await caller.read_answer()
            assert (got.payload == body, got.headers["content-length"]) == (True, str(len(body)))
            record = await gateway.last_record(count)
            assert (record.usage_state, record.prompt_tokens, record.completion_tokens) == EXACT
            assert record.bytes_out == len(got.raw)
        assert len(made) == (2 if rest > BULK_BYTES else 0)
        # After a last read that filled the buffer nobody knows whether there is more: such a connection is not kept.
        assert (engine.turns[0].connection is engine.turns[1].connection) == (rest != BULK_BYTES)
        assert pipes_of(gateway).open_pipes == pipes_of(gateway).idle_pipes == min(1, len(made))


@pytest.mark.slow
async def test_an_answer_cut_anywhere_is_the_same_to_the_byte(tmp_path: Path, made: list[Bulk]) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        body = chat_answer("x" * 150_000, 11, 22)
        data = sized(body)
        start, end = len(data) - len(body), len(data)
        places = [start - 1, start, start + 1, start + 70_000, end - TAIL - 1, end - TAIL, end - TAIL + 1, end - 1]
        caller = await gateway.connect()
        for place in places:
            engine.script(answer(*cut_into(data, sorted({start + 10, place}))))
            await caller.ask()
            assert (await caller.read_answer()).payload == body, place
        engine.script(answer(*cut_into(data, sorted({start + 10, *places}))))
        await caller.ask()
        assert (await caller.read_answer()).payload == body
        records = await gateway.wait_records(len(places) + 1)
        assert {(each.usage_state, each.prompt_tokens, each.completion_tokens) for each in records} == {EXACT}
        assert len({id(turn.connection) for turn in engine.turns}) == 1
        assert len(made) >= len(places)


@pytest.mark.slow
async def test_what_somebody_reads_goes_through_the_process(tmp_path: Path, made: list[Bulk]) -> None:
    """Chunks, captured bodies, errors and answers in another dialect."""
    async with run_engine() as engine, run_gateway(tmp_path, engine, capture_bodies=True) as gateway:
        engine.behaviour = answer(sized(LONG))
        assert (await ask(gateway)).payload == LONG
    async with run_engine() as engine, run_gateway(tmp_path / "more", engine) as gateway:
        engine.script(answer(STREAM_HEAD, chunk(LONG), LAST_CHUNK))
        assert (await ask(gateway)).payload == LONG
        engine.script(answer(sized(LONG, status=400)))
        assert (await ask(gateway)).status == 400
        engine.script(answer(sized(LONG)))
        caller = await gateway.connect()
        asked = b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}'
        await caller.send(request("/v1/messages", asked))
        got = await caller.read_answer()
        assert (got.status, len(got.json["content"][0]["text"])) == (200, 3_000_000)
        assert made == []


async def ask(gateway: Gateway) -> Any:
    caller = await gateway.connect()
    await caller.ask()
    return await caller.read_answer()


@pytest.mark.slow
async def test_without_a_pipe_it_is_copied(tmp_path: Path, made: list[Bulk], monkeypatch: pytest.MonkeyPatch) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        monkeypatch.setattr(Pipes, "take", lambda _: None)
        engine.behaviour = answer(sized(LONG))
        assert (await ask(gateway)).payload == LONG
        assert made == []


@pytest.mark.slow
async def test_where_the_kernel_cannot_splice_it_is_copied(
    tmp_path: Path, made: list[Bulk], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        monkeypatch.setattr(bulk_module, "splice", unsupported)
        engine.behaviour = answer(sized(LONG))
        got = await ask(gateway)
        assert got.payload == LONG
        record = await gateway.last_record()
        assert (record.usage_state, record.prompt_tokens, record.completion_tokens) == EXACT
        assert record.bytes_out == len(got.raw)
        assert len(made) == 1


# Clients


SLOW = {"client_send_buffer_bytes": 65536}


async def lagging(gateway: Gateway, made: list[Bulk]) -> Caller:
    """A client that does not read a long answer, of which the pipe holds a part."""
    caller = await gateway.connect(receive_bytes=65536)
    await caller.ask()
    while not (made and made[-1].is_lagging):  # what the relay had read must be taken first
        with trio.move_on_after(0.02):
            caller.data += await caller.read_some()
    return caller


@pytest.mark.slow
async def test_a_client_that_does_not_read_holds_up_its_engine_and_nobody_else(
    tmp_path: Path, made: list[Bulk]
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, **SLOW) as gateway:
        body = chat_answer("x" * (12 << 20), 11, 22)
        engine.script(answer(sized(body)))
        caller = await lagging(gateway, made)
        turn = engine.turns[0]
        assert (await ask(gateway)).status == 200
        assert turn.sent_bytes < len(body)
        assert not turn.is_over
        assert (await caller.read_answer()).payload == body
        records = await gateway.wait_records(2)
        assert (records[1].usage_state, records[1].prompt_tokens, records[1].completion_tokens) == EXACT
        assert pipes_of(gateway).open_pipes == 1


@pytest.mark.slow
@pytest.mark.parametrize("rudely", [False, True])
async def test_a_client_that_leaves_ends_it_at_the_backend_too(tmp_path: Path, made: list[Bulk], rudely: bool) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, **SLOW) as gateway:
        engine.behaviour = hang(sized(LONG))
        caller = await lagging(gateway, made)
        await caller.leave(rudely=rudely)
        with trio.fail_after(5):
            await engine.turns[0].left.wait()
        record = await gateway.last_record()
        assert (record.status, record.code, record.usage_state) == (200, "client_departed", "partial")
        assert record.bytes_out < len(LONG)
        assert pipes_of(gateway).open_pipes == 0  # it was not empty


@pytest.mark.slow
async def test_a_client_that_takes_nothing_for_too_long_is_closed(tmp_path: Path, made: list[Bulk]) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine, **SLOW) as gateway:
        engine.behaviour = hang(sized(LONG))
        await lagging(gateway, made)
        (relay,) = gateway.backend().pump.relays
        relay.check(trio.current_time() + 59)
        assert made[-1].is_lagging
        relay.check(trio.current_time() + 61)
        record = await gateway.last_record()
        assert (record.code, record.usage_state) == ("client_too_slow", "partial")
        assert pipes_of(gateway).open_pipes == 0


# Backends


async def in_the_middle(turn: Turn) -> None:
    """A third of the answer."""
    await turn.send(sized(LONG)[:1_000_000])


async def silent_after_a_third(turn: Turn) -> None:
    await in_the_middle(turn)
    await turn.hang()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["close", "reset", "withdraw", "silence"])
async def test_a_backend_that_breaks_off_breaks_the_answer_off(tmp_path: Path, made: list[Bulk], end: str) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = silent_after_a_third
        caller = await gateway.connect()
        await caller.ask()
        got = await caller.read_until(b"\r\n\r\n")
        while len(caller.data) < 990_000:
            caller.data += await caller.read_some()
        assert len(made) == 1
        match end:
            case "close":
                await engine.turns[0].close()
            case "reset":
                engine.turns[0].reset()
            case "withdraw":
                gateway.backend().withdraw("for a test")
            case "silence":
                (relay,) = gateway.backend().pump.relays
                relay.check(trio.current_time() + 10_000)
        got += await caller.read_to_end()
        assert len(got) < len(LONG)
        record = await gateway.last_record()
        codes = {"withdraw": "backend_withdrawn", "silence": "backend_timeout"}
        assert (record.status, record.code) == (200, codes.get(end, "backend_failed"))
        assert record.bytes_out == len(got)
        assert pipes_of(gateway).open_pipes == pipes_of(gateway).idle_pipes == 1


@pytest.mark.slow
async def test_a_backend_that_closes_after_its_answer_has_answered(tmp_path: Path, made: list[Bulk]) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(head("Connection: close", f"Content-Length: {len(LONG)}") + LONG, closes=True)
        for _ in range(2):
            assert (await ask(gateway)).payload == LONG
        records = await gateway.wait_records(2)
        assert {(each.status, each.code, each.usage_state) for each in records} == {(200, "", "exact")}
        assert len(made) == 2


@pytest.mark.slow
async def test_bytes_after_the_answer_keep_the_connection_out_of_the_pool(tmp_path: Path, made: list[Bulk]) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(sized(LONG) + sized(b'{"smuggled":1}'))
        caller = await gateway.connect()
        for _ in range(2):
            await caller.ask()
            assert (await caller.read_answer()).payload == LONG
        assert engine.turns[0].connection is not engine.turns[1].connection
        assert len(made) == 2


@pytest.mark.slow
async def test_a_bug_ends_that_answer_only(tmp_path: Path, made: list[Bulk], monkeypatch: pytest.MonkeyPatch) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        engine.behaviour = answer(sized(LONG))
        with monkeypatch.context() as patch:
            patch.setattr(Bulk, "_fill", broken)
            assert not (await ask(gateway)).is_whole
        gateway.expected_crashes = 1
        assert (await ask(gateway)).payload == LONG
        records = await gateway.wait_records(2)
        assert [record.code for record in records] == ["internal_error", ""]


def broken(*_: object) -> bool:
    raise RuntimeError("a bug, for a test")
