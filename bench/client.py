"""Shell. The load generator's HTTP client: raw sockets on one reactor, keep-alive pool, nothing per token but a recv.

A `Job` is one request and the `Answer` that reads its response; the client gives it a connection (the one idle
longest unused last, else a new one), sends, feeds the answer and calls `on_done` when it is complete or has failed
(`job.error`). `abandon` closes a job's connection at once: a client that leaves.
"""

import errno
import socket
import time
from collections.abc import Callable

from bench.answers import Answer
from bench.http1 import WireError
from bench.reactor import READ, WRITE, Reactor

RECEIVE_BYTES = 262_144


class Job:
    __slots__ = ("answer", "connection", "ended_ns", "error", "intended_ns", "on_done", "payload", "sent_ns", "tag")

    def __init__(
        self, payload: bytes, answer: Answer, on_done: Callable[["Job"], None], intended_ns: int = 0, tag: str = ""
    ) -> None:
        self.payload = payload
        self.answer = answer
        self.on_done = on_done
        self.intended_ns = intended_ns
        self.tag = tag
        self.sent_ns = 0
        self.ended_ns = 0
        self.error = ""
        self.connection: Connection | None = None


class Connection:
    __slots__ = ("_buffer", "_client", "_fd", "_is_connected", "_job", "_outbox", "_socket", "_view")

    def __init__(self, client: "Client", sock: socket.socket, is_connected: bool) -> None:
        self._client = client
        self._socket = sock
        self._fd = sock.fileno()
        self._is_connected = is_connected
        self._job: Job | None = None
        self._outbox = b""
        self._buffer = client.buffer
        self._view = client.view
        client.reactor.register(self._fd, self.on_event, READ if is_connected else READ | WRITE)

    def start(self, job: Job) -> None:
        self._job = job
        job.connection = self
        job.sent_ns = time.monotonic_ns()
        if self._is_connected:
            self._send(job.payload)
        else:
            self._outbox = job.payload

    def _send(self, data: bytes) -> None:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            self._fail(f"send: {exc.strerror}")
            return
        if sent != len(data):
            self._outbox = data[sent:]
            self._client.reactor.modify(self._fd, READ | WRITE)
        else:
            self._outbox = b""

    def on_event(self, events: int) -> None:
        if events & WRITE:
            self._writable()
            if not events & ~WRITE or not self.is_open:
                return
        try:
            size = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError as exc:
            self._fail(f"receive: {exc.strerror}")
            return
        now = time.monotonic_ns()
        job = self._job
        if not size:
            self._closed_by_peer()
        elif job is None:
            self._client.unsolicited += 1
            self.close()
        else:
            self._feed(job, bytes(self._view[:size]), now)

    def _feed(self, job: Job, data: bytes, now: int) -> None:
        try:
            finished = job.answer.receive_data(data, now)
        except (WireError, ValueError) as exc:
            self._fail(f"protocol: {exc}")
            return
        if finished:
            self._end(job, job.answer.error, now)

    def _writable(self) -> None:
        if not self._is_connected:
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._fail(f"connect: {errno.errorcode.get(error, error)}")
                return
            self._is_connected = True
        self._client.reactor.modify(self._fd, READ)
        if self._outbox:
            self._send(self._outbox)

    def _end(self, job: Job, error: str, now: int) -> None:
        job.ended_ns = now
        job.error = error
        job.connection = None
        self._job = None
        if self.is_open and job.answer.keeps_connection and not error:
            self._client.idle.append(self)
        else:
            self.close()
        job.on_done(job)

    def _closed_by_peer(self) -> None:
        job = self._job
        if job is None:
            self.close()
            return
        error = job.answer.connection_closed()
        self.close()
        self._end(job, error, time.monotonic_ns())

    def _fail(self, error: str) -> None:
        job = self._job
        self.close()
        if job is not None:
            self._end(job, error, time.monotonic_ns())

    def close(self) -> None:
        if self._fd < 0:
            return
        self._client.reactor.unregister(self._fd)
        self._client.connections.discard(self)
        self._fd = -1
        self._socket.close()

    @property
    def is_open(self) -> bool:
        return self._fd >= 0


class Client:
    """All connections to one address."""

    def __init__(self, reactor: Reactor, host: str, port: int) -> None:
        self.reactor = reactor
        self._address = (host, port)
        self.buffer = bytearray(RECEIVE_BYTES)
        self.view = memoryview(self.buffer)
        self.idle: list[Connection] = []
        self.connections: set[Connection] = set()
        self.unsolicited = 0
        self.connections_opened = 0

    def start(self, job: Job) -> None:
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open:
                connection.start(job)
                return
        self._open().start(job)

    def _open(self) -> Connection:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        is_connected = sock.connect_ex(self._address) == 0
        connection = Connection(self, sock, is_connected)
        self.connections.add(connection)
        self.connections_opened += 1
        return connection

    def abandon(self, job: Job) -> None:
        """Leave: close the connection under the job; `on_done` is not called."""
        connection, job.connection = job.connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        for connection in list(self.connections):
            connection.close()
        self.idle.clear()
