"""An engine that answers byte for byte what a test tells it, and remembers byte for byte what it was asked.

For what the mock engines of `bench` cannot prove: which bytes reach a backend, and that odd framing passes unchanged.
A thread per connection, in the test's own process; loopback only.
"""

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Asked:
    """One request as it arrived. Header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedEngine:
    """`play` sets the next answers to POST; GET is answered from `models`. `asked` has every POST."""

    models: Sequence[str]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    pieces: Sequence[bytes] = ()

    def play(self, *pieces: bytes) -> None:
        """Each piece is written by itself; together they are one whole HTTP answer."""
        self.pieces = pieces

    def serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as reader:
            while (asked := read_request(reader)) is not None:
                try:
                    if asked.method == "POST":
                        self.asked.append(asked)
                        for piece in self.pieces:
                            sock.sendall(piece)
                    else:
                        sock.sendall(self.describe(asked.target))
                except OSError:
                    return

    def describe(self, target: str) -> bytes:
        """`/v1/models`, and 404 to the rest, which is how a server says that it is no llama.cpp and no Ollama."""
        if target != "/v1/models":
            return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
        cards = [{"id": model, "object": "model", "created": 1, "owned_by": "script"} for model in self.models]
        return json_answer({"object": "list", "data": cards})


def read_request(reader: socket.SocketIO) -> Asked | None:
    """The next request with a sized body; None at the end of the connection."""
    try:
        line = reader.readline().decode("latin-1")
        headers: dict[str, str] = {}
        while (header := reader.readline().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        if not line:
            return None
        method, target, _ = line.split(" ")
        return Asked(method, target, headers, reader.read(int(headers.get("content-length", "0"))))
    except (OSError, ValueError):
        return None


def json_answer(value: object, status: str = "200 OK") -> bytes:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def sse_head() -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


LAST_CHUNK = b"0\r\n\r\n"


@contextmanager
def run_scripted_engine(*models: str) -> Iterator[ScriptedEngine]:
    """Listening on a free port until the block is left; then every connection is closed and every thread has ended."""
    engine = ScriptedEngine(models)
    connections: list[tuple[socket.socket, threading.Thread]] = []

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=engine.serve, args=(sock,), daemon=True)
            connections.append((sock, thread))
            thread.start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        engine.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield engine
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for sock, thread in connections:
                if sock.fileno() >= 0:
                    with suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)
                thread.join()
