"""Shell. Small GETs to a backend without TLS, on connections that are kept: a tenth of what a client library costs.

A thousand backends are probed with 400 requests a second, for ever; httpx under trio takes 1.5 ms for each, this 0.15.
Backends with TLS are few and far away: for them `probe.py` uses the library. Deadlines are the caller's scope.
"""

from typing import NamedTuple

import trio

from mrproxy.sockets import connect_tcp, connect_unix
from mrproxy.upstream.endpoint import Endpoint
from mrproxy.wire.chunked import ChunkedDecoder
from mrproxy.wire.http1 import ResponseHead, parse_response_head

# A list of a thousand models is 300 KB; more is not a list of models.
MAX_ANSWER_BYTES = 8 << 20
_MAX_HEAD_BYTES = 64 << 10


class Page(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class AskError(Exception):
    """No answer, or none that can be read; the text is one word for it."""


class Asker:
    """Connections of one endpoint; `close` ends those that are idle."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._idle: list[trio.SocketStream] = []

    async def get(self, path: str) -> Page:
        """Raises AskError."""
        if self._idle:
            try:
                return await self._exchange(self._idle.pop(), path)
            except AskError:
                pass  # closed while it was idle, as servers do
        return await self._exchange(await self._connect(), path)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().socket.close()

    async def _connect(self) -> trio.SocketStream:
        endpoint = self._endpoint
        try:
            if endpoint.unix_path:
                sock = await connect_unix(endpoint.unix_path)
            else:
                sock = await connect_tcp(endpoint.host, endpoint.port)
        except OSError as exc:
            raise AskError("ConnectError") from exc
        return trio.SocketStream(trio.socket.from_stdlib_socket(sock))

    async def _exchange(self, stream: trio.SocketStream, path: str) -> Page:
        is_reusable = False
        try:
            await stream.send_all(self._endpoint.get_request(path.encode()))
            head, rest = await _read_head(stream)
            body = await _read_body(stream, head, rest)
            is_reusable = head.reusable
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as exc:
            raise AskError("ReadError") from exc
        except ValueError as exc:
            raise AskError(f"ProtocolError ({exc})") from exc
        finally:
            if is_reusable:
                self._idle.append(stream)
            else:
                stream.socket.close()
        return Page(head.status, body)


async def _read_head(stream: trio.SocketStream) -> tuple[ResponseHead, bytes]:
    """And what came with it of the body."""
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        if len(data) > _MAX_HEAD_BYTES:
            raise ValueError("the head is too large")
        piece = await stream.receive_some()
        if not piece:
            raise ValueError("it hung up")
        data += piece
    return parse_response_head(bytes(data[: end + 4])), bytes(data[end + 4 :])


async def _read_body(stream: trio.SocketStream, head: ResponseHead, rest: bytes) -> bytes:
    """By its framing; without any it ends with the connection (RFC 9112 §6.3)."""
    decoder = ChunkedDecoder() if head.chunked else None
    body = bytearray(rest if decoder is None else decoder.receive_data(rest))
    while not (decoder.is_done if decoder is not None else 0 <= head.content_length <= len(body)):
        if len(body) > MAX_ANSWER_BYTES:
            raise ValueError("the answer is too large")
        piece = await stream.receive_some()
        if not piece:
            if decoder is not None or head.content_length >= 0:
                raise ValueError("it hung up")
            break
        body += piece if decoder is None else decoder.receive_data(piece)
    return bytes(body if head.content_length < 0 else body[: head.content_length])
