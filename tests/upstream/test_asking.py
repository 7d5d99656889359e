"""Pages come whole however they are framed, and a server that misbehaves is one word."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio

from mrproxy.upstream.asking import MAX_ANSWER_BYTES, Asker, AskError, Page
from mrproxy.upstream.endpoint import Endpoint


@dataclass
class Server:
    """Answers each request with the next of `answers`, piece by piece, and hangs up behind one that is closed."""

    answers: list[tuple[bytes, ...]]
    url: str = ""
    connections: int = 0
    asked: list[bytes] = field(default_factory=list)

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        async with stream:
            while self.answers:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = await stream.receive_some()
                    if not piece:
                        return
                    head += piece
                self.asked.append(head)
                for piece in self.answers.pop(0):
                    if piece is HANG_UP:
                        return
                    await stream.send_all(piece)
                    await trio.lowlevel.checkpoint()


HANG_UP = b"<hang up>"


@asynccontextmanager
async def asking(*answers: tuple[bytes, ...], key: str | None = None) -> AsyncIterator[tuple[Server, Asker]]:
    server = Server(list(answers))
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        asker = Asker(Endpoint(f"http://127.0.0.1:{listener.socket.getsockname()[1]}/prefix", key))
        with trio.fail_after(5):
            yield server, asker
        asker.close()
        nursery.cancel_scope.cancel()


SIZED = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


@pytest.mark.parametrize(("answer", "status"), [(SIZED, 200), (CHUNKED, 404)])
async def test_a_page_comes_whole_byte_by_byte_and_its_connection_is_kept(answer: bytes, status: int) -> None:
    bytewise = tuple(answer[index : index + 1] for index in range(len(answer)))
    async with asking(bytewise, (answer,), key="k") as (server, asker):
        assert await asker.get("/a") == await asker.get("/b") == Page(status, b"hello")
        assert server.connections == 1
        assert server.asked[0].startswith(b"GET /prefix/a HTTP/1.1\r\nhost: 127.0.0.1:")
        assert b"\r\nauthorization: Bearer k\r\n" in server.asked[0]


async def test_without_framing_a_page_ends_with_its_connection() -> None:
    async with asking((b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo", HANG_UP), (SIZED,)) as (server, asker):
        assert await asker.get("/a") == Page(200, b"hello")
        assert await asker.get("/b") == Page(200, b"hello")
        assert server.connections == 2


async def test_a_connection_that_was_closed_while_idle_is_made_anew() -> None:
    async with asking((SIZED, HANG_UP), (SIZED,)) as (server, asker):
        await asker.get("/a")
        assert await asker.get("/b") == Page(200, b"hello")
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        (HANG_UP,),
        (b"HTTP/1.1 200 OK\r\ncontent-le", HANG_UP),
        (SIZED[:-1], HANG_UP),
        (CHUNKED[:-5], HANG_UP),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",),
        (b"SSH-2.0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * (65 << 10),),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"y" * (MAX_ANSWER_BYTES + 1),),
    ],
    ids=lambda answer: str(answer[0][:40]),
)
async def test_what_is_no_answer_is_an_error_in_words(answer: tuple[bytes, ...]) -> None:
    async with asking(answer) as (_, asker):
        with pytest.raises(AskError, match="Error"):
            await asker.get("/a")


async def test_nobody_there_is_an_error_in_words() -> None:
    with pytest.raises(AskError, match="ConnectError"):
        await Asker(Endpoint("http://127.0.0.1:1")).get("/a")
