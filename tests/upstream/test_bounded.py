"""Answers of servers that are not ours: what is read of them, and what is refused."""

import gzip
from collections.abc import AsyncIterator

import httpx
import pytest
import trio

from mrproxy.upstream.bounded import IDENTITY, AnswerRefused, read_bounded, read_pieces


class Pieces(httpx.AsyncByteStream):
    """A body in these pieces. `given` counts them; closed, the next read fails, as with a connection."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.given = 0
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if self.is_closed:
                raise httpx.ReadError("closed")
            self.given += 1
            yield piece

    async def aclose(self) -> None:
        self.is_closed = True


async def read(body: Pieces, status: int = 200, max_bytes: int = 1000, **headers: str) -> bytes:
    answer = httpx.Response(status, stream=body, headers={name.replace("_", "-"): headers[name] for name in headers})
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer), headers=IDENTITY) as client,
        client.stream("GET", "http://engine/") as response,
    ):
        assert response.request.headers["accept-encoding"] == "identity"
        return await read_bounded(response, max_bytes)


@pytest.mark.parametrize("headers", [{}, {"content_encoding": ""}, {"content_encoding": "Identity, identity"}])
async def test_an_answer_as_it_is_comes_whole(headers: dict[str, str]) -> None:
    assert await read(Pieces(b"a" * 600, b"b" * 400), **headers) == b"a" * 600 + b"b" * 400


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "identity, deflate", "x" * 500])
async def test_an_encoded_answer_is_refused_unread(encoding: str) -> None:
    body = Pieces(gzip.compress(bytes(1 << 20)))
    with pytest.raises(AnswerRefused, match=r"the answer is encoded") as caught:
        await read(body, content_encoding=encoding)
    assert len(str(caught.value)) < 100
    assert (body.given, body.is_closed) == (0, True)


async def test_a_page_of_an_error_stays_encoded() -> None:
    """It says by its status what it has to say: a server that compresses those is as usable as any."""
    packed = gzip.compress(b"not found")
    assert await read(Pieces(packed), status=404, content_encoding="gzip") == packed


async def test_what_is_too_much_closes_the_connection() -> None:
    body = Pieces(*[b"x" * 300] * 10)
    with pytest.raises(AnswerRefused, match="the answer is too large"):
        await read(body)
    assert (body.given, body.is_closed) == (4, True)


async def test_what_is_too_much_is_refused_if_it_ends_at_once() -> None:
    with pytest.raises(AnswerRefused, match="the answer is too large"):
        await read(Pieces(b"x" * 1001))


async def test_tiny_pieces_are_refused() -> None:
    body = Pieces(*[b"x"] * 5000)
    with pytest.raises(AnswerRefused, match="pieces are too small"):
        await read(body, max_bytes=5000)
    assert body.given == 1001


async def test_others_have_their_turn_between_pieces() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        assert await read(Pieces(*[b"x"] * 960)) == b"x" * 960
        nursery.cancel_scope.cancel()
    assert turns >= 20


async def test_a_connection_that_breaks_is_httpxs_error() -> None:
    body = Pieces(b"x", b"y")
    body.is_closed = True
    with pytest.raises(httpx.ReadError):
        await read(body)


async def test_whoever_takes_the_pieces_may_refuse_the_rest() -> None:
    taken = []

    def take(piece: bytes) -> None:
        taken.append(piece)
        if piece == b"2":
            raise AnswerRefused("enough")

    body = Pieces(b"1", b"2", b"3", b"4")
    response = httpx.Response(200, stream=body)
    with pytest.raises(AnswerRefused, match="enough"):
        await read_pieces(response, take)
    assert (taken, body.is_closed) == ([b"1", b"2"], True)
