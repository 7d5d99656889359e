"""Shell. The front door: accepts connections, bounds them, sweeps their deadlines, drains them.

One task accepts, one sweeps; each connection is a fiber in the worker's poller. The border of a connection is here: a
bug in one is logged and counted, and ends only that one.
TLS is terminated in front of a socket pair (`sockets.bridge`), so that everything behind sees plain sockets.
"""

import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import trio

from mrproxy.accept.client import Client, Express
from mrproxy.accept.heads import HeadCache
from mrproxy.config import Settings
from mrproxy.counters import Counters
from mrproxy.fibers import Departed, Fiber
from mrproxy.sockets import Poller, accept_some, bridge

# Deadlines are seconds long; a sweep over 10,000 connections takes 1 ms.
_SWEEP_SECONDS = 0.25
# When descriptors run out the kernel's backlog holds new connections meanwhile; asking faster only burns CPU.
_ACCEPT_RETRY_SECONDS = 0.1
_BUSY = b'{"error":{"message":"too many connections","type":"overloaded_error","code":"too_many_connections"}}'
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BUSY), _BUSY)
)

Serve = Callable[[Client], Coroutine[object, Any, None]]
Crashed = Callable[[str, Exception], None]


class Door:
    """All client connections of one worker."""

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        poller: Poller,
        serve: Serve,
        crashed: Crashed,
        express: Express | None = None,
    ) -> None:
        self.settings = settings
        self.heads = HeadCache()
        self.clients: set[Client] = set()
        self._poller = poller
        self._counters = counters
        self._serve = serve
        self._express = express
        self._crashed = crashed
        self._open = 0  # connections, those of TLS from before their handshake to behind their last byte
        self._per_address: dict[str, int] = {}
        self._is_draining = False
        self._emptied = trio.Event()

    async def run(
        self,
        listeners: list[socket.socket],
        drain: trio.Event,
        tls: ssl.SSLContext | None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept until `drain`, then return when the last connection has ended.

        Cancelled (the drain's deadline, or a crash elsewhere): every connection is ended on the spot.
        """
        async with trio.open_nursery() as helpers:
            helpers.start_soon(self._sweep, name="door sweep")
            self._nursery = helpers
            try:
                async with trio.open_nursery() as accepting:
                    for listener in listeners:
                        accepting.start_soon(self._accept, listener, tls, name="accept")
                    task_status.started()
                    await drain.wait()
                    accepting.cancel_scope.cancel(reason="draining")
                self._is_draining = True
                for client in list(self.clients):
                    client.on_drain()
                if self._open:
                    await self._emptied.wait()
            finally:
                for client in list(self.clients):
                    client.leave()
            helpers.cancel_scope.cancel(reason="the last connection has ended")

    async def _accept(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        with listener:
            while True:
                try:
                    accepted = await accept_some(listener)
                except OSError as exc:
                    self._crashed("accept", exc)
                    await trio.sleep(_ACCEPT_RETRY_SECONDS)
                    continue
                for sock, address in accepted:
                    self._admit(sock, address, tls)

    def _admit(self, sock: socket.socket, address: str, tls: ssl.SSLContext | None) -> None:
        count = self._per_address.get(address, 0)
        if self._open >= self.settings.max_connections or count >= self.settings.max_connections_per_address:
            self._counters.connections_refused += 1
            if tls is None:
                with suppress(OSError):
                    sock.send(_FULL)
            sock.close()
            return
        self._counters.connections += 1
        self._open += 1
        self._per_address[address] = count + 1
        if tls is None:
            self._begin(sock, address, is_bridged=False)
        else:
            self._nursery.start_soon(self._serve_tls, sock, address, tls, name="TLS")

    def _begin(self, sock: socket.socket, address: str, *, is_bridged: bool) -> None:
        fiber = Fiber(self._nursery, lambda error: self._ended(client, error, is_bridged))
        client = Client(sock, address, self._poller, self.heads, self.settings, fiber, self._express)
        client.is_draining = self._is_draining
        self.clients.add(client)
        self._poller.register(sock.fileno(), client)
        fiber.start(self._serve(client))

    def _ended(self, client: Client, error: Exception | None, is_bridged: bool) -> None:
        """The border of a connection. Behind a bridge it may take its last bytes for a while yet."""
        self.clients.discard(client)
        if not is_bridged:
            self._leave(client.peer_address)
        descriptor = client.sock.fileno()
        if descriptor >= 0:
            self._poller.unregister(descriptor)
            client.sock.close()
        if error is not None and not isinstance(error, Departed):
            self._crashed("connection", error)

    def _leave(self, address: str) -> None:
        self._open -= 1
        if self._is_draining and not self._open:
            self._emptied.set()
        left = self._per_address[address] - 1
        if left:
            self._per_address[address] = left
        else:
            del self._per_address[address]

    async def _serve_tls(self, sock: socket.socket, address: str, tls: ssl.SSLContext) -> None:
        """Shake hands, then copy between the TLS stream and a pair of which the fiber has the other end."""
        plain = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        stream = trio.SSLStream(plain, tls, server_side=True, https_compatible=True)
        is_secure = False
        try:
            with trio.move_on_after(self.settings.head_deadline_seconds):
                await stream.do_handshake()
                is_secure = True
            if is_secure:
                ours, theirs = socket.socketpair()
                ours.setblocking(False)
                theirs.setblocking(False)
                self._begin(ours, address, is_bridged=True)
                await bridge(stream, theirs, write_idle_seconds=self.settings.client_write_idle_seconds)
        except (trio.BrokenResourceError, ssl.SSLError, OSError):
            pass
        finally:
            self._leave(address)
            await trio.aclose_forcefully(stream)

    async def _sweep(self) -> None:
        """Wake whoever is late. A deadline is kept to within the sweep's interval."""
        while True:
            await trio.sleep(_SWEEP_SECONDS)
            now = self._poller.now = trio.current_time()
            for client in list(self.clients):
                if client.deadline_at < now:
                    client.on_late()

    def apply(self, settings: Settings) -> None:
        """A reload: new connections and the next requests of old ones have the new limits."""
        self.settings = settings
        self.heads.forget()
        for client in self.clients:
            client.settings = settings
