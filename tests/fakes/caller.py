"""A client that hides nothing: raw bytes out, raw bytes in, and a strict reader of answers."""

import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

import trio

KEY = "key-of-the-tests"
_RESET = struct.pack("ii", 1, 0)
# Where `struct tcp_info` (linux/tcp.h) has `tcpi_data_segs_in`.
_DATA_SEGMENTS_IN = slice(152, 156)


@dataclass
class Answer:
    """`payload` has no framing; `chunks` are its pieces; `raw` is everything. Not `is_whole`: it was cut off."""

    status: int
    headers: dict[str, str]
    payload: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    raw: bytes = b""
    is_whole: bool = True

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


def request(
    path: str = "/v1/chat/completions",
    body: bytes = b"",
    *lines: str,
    method: str = "POST",
    key: str | None = KEY,
    version: str = "1.1",
) -> bytes:
    """A whole request, as an SDK would send it."""
    head = [f"{method} {path} HTTP/{version}", "Host: gateway", *lines]
    if key is not None:
        head.append(f"Authorization: Bearer {key}")
    if body:
        head.append("Content-Type: application/json")
    if body or method == "POST":
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


def chat(model: str = "m", *, stream: bool = False, **fields: object) -> bytes:
    """The body of a chat."""
    value = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps(value | {"stream": True} if stream else value).encode()


class Caller:
    """One connection to the gateway."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.data = bytearray()
        self.is_over = False

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def ask(self, model: str = "m", *lines: str, stream: bool = False, **fields: object) -> None:
        """Send a chat; the answer is read by `read_answer`."""
        await self.send(request("/v1/chat/completions", chat(model, stream=stream, **fields), *lines))

    async def read_some(self) -> bytes:
        """The next bytes that arrive; empty when the connection is over. A reset shows as `ConnectionResetError`."""
        try:
            return bytes(await self.stream.receive_some(65536))
        except trio.BrokenResourceError as exc:
            raise ConnectionResetError from exc

    async def _more(self) -> bool:
        if self.is_over:
            return False
        with trio.fail_after(10):
            try:
                piece = await self.read_some()
            except ConnectionResetError:
                piece = b""
        self.data += piece
        self.is_over = not piece
        return bool(piece)

    async def _take(self, count: int) -> bytes:
        """So many bytes, or fewer at the end."""
        while len(self.data) < count and await self._more():
            pass
        taken = bytes(self.data[:count])
        del self.data[:count]
        return taken

    async def read_until(self, mark: bytes) -> bytes:
        """Everything through `mark`; what there was when the connection ended before."""
        while mark not in self.data and await self._more():
            pass
        end = self.data.find(mark)
        return await self._take(len(self.data) if end < 0 else end + len(mark))

    async def read_answer(self, *, has_body: bool = True) -> Answer:
        """One answer, interim ones skipped."""
        raw = await self.read_until(b"\r\n\r\n")
        while raw.startswith(b"HTTP/1.1 1") and not raw.startswith(b"HTTP/1.1 101"):
            raw = await self.read_until(b"\r\n\r\n")
        assert raw.endswith(b"\r\n\r\n"), f"no answer, but {raw!r}"
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        headers: dict[str, str] = {}
        for line in lines:
            name, value = line.split(": ", 1)
            if name.lower() == "warning" and "warning" in headers:  # a list (RFC 9110 §5.3)
                value = f"{headers['warning']}, {value}"
            else:
                assert name.lower() not in headers, f"{name} twice in {raw!r}"
            headers[name.lower()] = value
        answer = Answer(int(first.split(" ")[1]), headers, raw=raw)
        if not has_body or answer.status in (101, 204, 304):
            return answer
        if "transfer-encoding" in headers:
            assert "content-length" not in headers
            await self._read_chunks(answer)
        elif "content-length" in headers:
            answer.payload = await self._take(int(headers["content-length"]))
            answer.raw += answer.payload
            answer.is_whole = len(answer.payload) == int(headers["content-length"])
        else:
            while await self._more():
                pass
            answer.payload = await self._take(len(self.data))
            answer.raw += answer.payload
        return answer

    async def _read_chunks(self, answer: Answer) -> None:
        while True:
            line = await self.read_until(b"\r\n")
            size = int(line, 16) if line.endswith(b"\r\n") else -1
            piece = await self._take(size + 2) if size >= 0 else b""
            answer.raw += line + piece
            if size < 0 or len(piece) != size + 2:
                answer.is_whole = False
                return
            assert piece.endswith(b"\r\n")
            if not size:
                return
            answer.chunks.append(piece[:-2])
            answer.payload += piece[:-2]

    async def read_to_end(self) -> bytes:
        """Everything up to the end of the connection."""
        while await self._more():
            pass
        return await self._take(len(self.data))

    def data_segments(self) -> int:
        """How many segments with data the kernel has received: one for each write of the other side, if it waits."""
        info = self.stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        return int.from_bytes(info[_DATA_SEGMENTS_IN], "little")

    async def leave(self, *, rudely: bool = False) -> None:
        """Close the connection; rudely: with RST."""
        if self.stream.socket.fileno() < 0:
            return
        if rudely:
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        await self.stream.aclose()
