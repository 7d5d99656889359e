"""Shell. Reads what a server that is not ours answers to a request by httpx: bounded, and as it comes.

Nothing is decompressed: httpx does it a read at a time, and 800 bytes of `gzip, gzip` are 800 MiB, before anybody can
count them. So IDENTITY is asked for, and what comes encoded all the same is refused. h11 takes 25 µs for a piece of any
size and gives what it has without a checkpoint; here are checkpoints, and pieces that are too small are refused.
For connections of our own making see `asking.py`, for images `mrproxy/images.py`. Deadlines are the caller's scope.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

import httpx
import trio

# To be sent along with every request whose answer is read here.
IDENTITY: Final = MappingProxyType({"accept-encoding": "identity"})

PIECES_PER_TURN: Final = 32
# Servers that write line by line are small, and those that are large write kilobytes.
_MANY_PIECES = 1_000
_MIN_PIECE_BYTES = 256
_MAX_QUOTED = 40


def are_crumbs(pieces: int, size_bytes: int) -> bool:
    """Whether so much came in too many pieces."""
    return pieces > _MANY_PIECES and size_bytes < pieces * _MIN_PIECE_BYTES


class AnswerRefused(Exception):
    """An answer that is not read to its end; the text says why, in one line."""


async def read_bounded(response: httpx.Response, max_bytes: int) -> bytes:
    """The body. Raises AnswerRefused, and httpx's errors as they are. Cancelled leaves the response to be closed."""
    body = bytearray()
    pieces = 0

    def take(piece: bytes) -> None:
        nonlocal body, pieces
        body += piece
        pieces += 1
        if len(body) > max_bytes:
            raise AnswerRefused("the answer is too large")
        if are_crumbs(pieces, len(body)):
            raise AnswerRefused("the answer's pieces are too small")

    await read_pieces(response, take)
    return bytes(body)


async def read_pieces(response: httpx.Response, take: Callable[[bytes], None]) -> None:
    """Hands over the body as it comes, until `take` raises AnswerRefused, which comes out. Raises as `read_bounded`.

    An encoded body comes as it is where the status says all that anybody wants to know: that of an error.
    """
    if response.is_success:
        refuse_encoded(response)
    refused: AnswerRefused | None = None
    pieces = 0
    try:
        async for piece in response.aiter_raw():
            pieces += 1
            if pieces % PIECES_PER_TURN == 0:
                await trio.lowlevel.checkpoint()
            if refused is None:
                try:
                    take(piece)
                except AnswerRefused as exc:
                    refused = exc
                    await response.aclose()  # the next read fails, which ends httpx's generators in order
    except httpx.HTTPError:
        if refused is None:
            raise
    if refused is not None:
        raise refused


def refuse_encoded(response: httpx.Response) -> None:
    encoding = response.headers.get("content-encoding", "")
    if any(each.strip().lower() not in ("", "identity") for each in encoding.split(",")):
        raise AnswerRefused(f"the answer is encoded ({encoding[:_MAX_QUOTED]})")
