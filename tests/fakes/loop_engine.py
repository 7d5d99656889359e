"""An inference server in the test's own trio loop, which does what a test says, byte by byte.

A *behaviour* is an async function of one `Turn` (a request and the connection it came on). `FakeEngine.script` gives
the next requests their behaviours; all others get `FakeEngine.behaviour`. Probes are answered by themselves.
Ready-made behaviours: `tests/fakes/behaviours.py`.
"""

import json
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close() sends RST
_BACKLOG = 1024


class Left(Exception):
    """Whoever asked has closed the connection."""


@dataclass
class EngineRequest:
    """What arrived. Header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class EngineConnection:
    """One accepted connection, with a buffer that a reader task fills: so a departure is noticed at once."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.data = bytearray()
        self.left = trio.Event()
        self.left_at: float | None = None
        self._changed = trio.Event()
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def is_closed(self) -> bool:
        """By the engine itself."""
        return self.stream.socket.fileno() < 0

    async def read_for_ever(self) -> None:
        while not self.left.is_set():
            try:
                piece = await self.stream.receive_some(65536)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                piece = b""
            if piece:
                self.data += piece
            else:
                self.left_at = trio.current_time()
                self.left.set()
            self._changed.set()
            self._changed = trio.Event()

    async def next_request(self) -> EngineRequest | None:
        """None when the connection is over."""
        while (end := self.data.find(b"\r\n\r\n")) < 0:
            if self.left.is_set():
                return None
            await self._changed.wait()
        lines = bytes(self.data[:end]).decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        stop = end + 4 + int(headers.get("content-length", "0"))
        while len(self.data) < stop:
            if self.left.is_set():
                return None
            await self._changed.wait()
        body = bytes(self.data[end + 4 : stop])
        del self.data[:stop]
        return EngineRequest(method, path, headers, body)

    def reset(self) -> None:
        """RST: what the other side has not read yet is lost."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.stream.socket.close()


class Turn:
    """One request's turn: a behaviour answers it here. `left` is set when the gateway closes the connection."""

    def __init__(self, connection: EngineConnection, request: EngineRequest) -> None:
        self.connection = connection
        self.request = request
        self.left = connection.left
        self.sent_bytes = 0
        self.at = trio.current_time()
        self.is_over = False

    async def send(self, data: bytes) -> None:
        """Everything, or Left. `sent_bytes` counts what the kernel has taken."""
        view = memoryview(data)
        while view:
            try:
                count = await self.connection.stream.socket.send(view)
            except OSError:
                raise Left from None
            self.sent_bytes += count
            view = view[count:]

    async def hang(self) -> None:
        """Say nothing more until the other side leaves."""
        await self.left.wait()
        raise Left

    def reset(self) -> None:
        self.connection.reset()

    async def close(self) -> None:
        await self.connection.stream.aclose()


Behaviour = Callable[[Turn], Awaitable[None]]


async def _answer_ok(turn: Turn) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    body = json.dumps({"choices": [{"message": {"content": "hello"}}], "usage": usage}).encode()
    await turn.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )


class FakeEngine:
    """`turns` are all requests but probes, in order; `probes` counts those by path.

    `pages` is what a probe is told; a page that is None is never answered.
    """

    def __init__(self, name: str, kind: str, models: Iterable[str]) -> None:
        self.name = name
        self.kind = kind
        self.behaviour: Behaviour = _answer_ok
        self.turns: list[Turn] = []
        self.connections: list[EngineConnection] = []
        self.probes: dict[str, int] = {}
        self.probe_headers: dict[str, str] = {}
        self.pages: dict[str, tuple[int, bytes] | None] = {}
        self.port = 0
        self._scripted: deque[Behaviour] = deque()
        self._changed = trio.Event()
        self._fillers: list[socket.socket] = []
        self.offer(*models)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def script(self, *behaviours: Behaviour) -> None:
        """For the next requests, one each."""
        self._scripted.extend(behaviours)

    def offer(self, *models: str) -> None:
        """These are the models that probes are told from now on."""
        tags = [{"name": name, "model": name} for name in models]
        if self.kind == "ollama":
            self._put("/api/version", {"version": "0.12.0"})
            self._put("/api/tags", {"models": tags})
            self._put("/api/ps", {"models": tags})
        else:
            self.pages["/health"] = 200, b""
        listed = [{"id": name, "object": "model", "owned_by": self.kind} for name in models]
        self._put("/v1/models", {"object": "list", "data": listed})

    def _put(self, path: str, value: object) -> None:
        self.pages[path] = 200, json.dumps(value).encode()

    async def wait_turn(self, count: int = 1) -> Turn:
        """The `count`th request, once it has arrived."""
        with trio.fail_after(15):
            while len(self.turns) < count:
                await self._changed.wait()
        return self.turns[count - 1]

    # Listening

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self.listen()
            task_status.started()
            await trio.sleep_forever()

    async def listen(self) -> None:
        """Also again, on the same port, after `refuse`."""
        self._listener = trio.socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(_BACKLOG)
        self.port = self._listener.getsockname()[1]
        self._accepting = trio.CancelScope()
        self._nursery.start_soon(self._accept, self._listener, self._accepting)

    def refuse(self) -> None:
        """New connections are refused from now on; open ones stay."""
        self._accepting.cancel()
        self._listener.close()

    def stop_accepting(self) -> None:
        """New connections hang in the kernel: its backlog is made small and filled."""
        self._accepting.cancel()
        self._listener.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)

    def close_idle(self) -> None:
        """As an engine that restarts: every connection that carries no request is closed."""
        busy = {id(turn.connection) for turn in self.turns if not turn.is_over}
        for connection in self.connections:
            if id(connection) not in busy:
                connection.stream.socket.close()

    def close(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._listener.close()

    async def _accept(self, listener: trio.socket.SocketType, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                try:
                    sock, _ = await listener.accept()
                except trio.ClosedResourceError:  # `refuse`, or the end of the test
                    return
                self._nursery.start_soon(self._serve, EngineConnection(trio.SocketStream(sock)))

    async def _serve(self, connection: EngineConnection) -> None:
        self.connections.append(connection)
        async with connection.stream, trio.open_nursery() as nursery:
            nursery.start_soon(connection.read_for_ever)
            while (request := await connection.next_request()) is not None and not connection.is_closed:
                if request.method == "GET":
                    await self._answer_probe(connection, request)
                else:
                    await self._answer(connection, request)
            nursery.cancel_scope.cancel()

    async def _answer(self, connection: EngineConnection, request: EngineRequest) -> None:
        turn = Turn(connection, request)
        self.turns.append(turn)
        self._changed.set()
        self._changed = trio.Event()
        behaviour = self._scripted.popleft() if self._scripted else self.behaviour
        try:
            await behaviour(turn)
        except Left:
            pass
        finally:
            turn.is_over = True

    async def _answer_probe(self, connection: EngineConnection, request: EngineRequest) -> None:
        self.probes[request.path] = self.probes.get(request.path, 0) + 1
        self.probe_headers = request.headers
        page = self.pages.get(request.path, (404, b"{}"))
        if page is None:
            await connection.left.wait()
            return
        head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        try:
            await connection.stream.send_all(head % (page[0], len(page[1])) + page[1])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            connection.left.set()


@asynccontextmanager
async def run_engine(
    name: str = "engine-a", kind: str = "vllm", models: Iterable[str] = ("m",)
) -> AsyncIterator[FakeEngine]:
    """A running engine. What the body raises comes out as it is."""
    engine = FakeEngine(name, kind, models)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        try:
            yield engine
        except Exception as exc:
            failure = exc
        finally:
            engine.close()
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
