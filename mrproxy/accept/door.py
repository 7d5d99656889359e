"""Shell. The front door: accepts connections, bounds them, sweeps their deadlines, drains them.

One task accepts, one serves the poller's events, one sweeps; each connection has a task of its own in the
connections' nursery. The border of a connection is here: a bug in one is logged and counted, and ends only that one.
TLS is terminated in front of a socket pair (`sockets.bridge`), so that everything behind sees plain sockets.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from mrproxy.accept.client import Client, Departed
from mrproxy.accept.heads import HeadCache
from mrproxy.config import Settings
from mrproxy.counters import Counters
from mrproxy.sockets import Poller, Source, accept_some, bridge

# Deadlines are seconds long; a sweep over 10,000 connections takes 1 ms.
_SWEEP_SECONDS = 0.25
# When descriptors run out the kernel's backlog holds new connections meanwhile; asking faster only burns CPU.
_ACCEPT_RETRY_SECONDS = 0.1
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b'content-length: 85\r\n\r\n{"error":{"message":"too many connections","type":"overloaded_error","code":"busy"}}\n'
)

Serve = Callable[[Client], Awaitable[None]]
Crashed = Callable[[str, Exception], None]


class Door:
    """All client connections of one worker."""

    def __init__(self, settings: Settings, counters: Counters, serve: Serve, crashed: Crashed) -> None:
        self.settings = settings
        self.heads = HeadCache()
        self.clients: set[Client] = set()
        self.poller = Poller(self._source_crashed)
        self._counters = counters
        self._serve = serve
        self._crashed = crashed
        self._per_address: dict[str, int] = {}
        self._is_draining = False

    async def run(
        self,
        listeners: list[socket.socket],
        drain: trio.Event,
        tls: ssl.SSLContext | None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept until `drain`, then return when the last connection has ended; the caller holds the deadline."""
        async with trio.open_nursery() as helpers:
            await helpers.start(self.poller.run, name="door poller")
            helpers.start_soon(self._sweep, name="door sweep")
            async with trio.open_nursery() as connections:  # outlives the listeners
                async with trio.open_nursery() as accepting:
                    for listener in listeners:
                        accepting.start_soon(self._accept, listener, tls, connections, name="accept")
                    task_status.started()
                    await drain.wait()
                    accepting.cancel_scope.cancel(reason="draining")
                self._is_draining = True
                for client in list(self.clients):
                    client.on_drain()
            helpers.cancel_scope.cancel(reason="the last connection has ended")
        self.poller.close()

    async def _accept(self, listener: socket.socket, tls: ssl.SSLContext | None, connections: trio.Nursery) -> None:
        with listener:
            while True:
                try:
                    accepted = await accept_some(listener)
                except OSError as exc:
                    self._crashed("accept", exc)
                    await trio.sleep(_ACCEPT_RETRY_SECONDS)
                    continue
                for sock, address in accepted:
                    self._admit(sock, address, tls, connections)

    def _admit(self, sock: socket.socket, address: str, tls: ssl.SSLContext | None, connections: trio.Nursery) -> None:
        count = self._per_address.get(address, 0)
        if len(self.clients) >= self.settings.max_connections or count >= self.settings.max_connections_per_address:
            self._counters.connections_refused += 1
            if tls is None:
                try:
                    sock.send(_FULL)
                except OSError:
                    pass
            sock.close()
            return
        self._counters.connections += 1
        self._per_address[address] = count + 1
        serve = self._serve_tls if tls is not None else self._serve_plain
        connections.start_soon(partial(serve, sock, address, tls), name="connection")

    async def _serve_plain(self, sock: socket.socket, address: str, tls: ssl.SSLContext | None = None) -> None:
        client = Client(sock, address, self.poller, self.heads, self.settings, trio.current_time())
        client.is_draining = self._is_draining
        self.clients.add(client)
        self.poller.register(sock.fileno(), client)
        try:
            with client.scope:
                await self._serve(client)
        except Departed:
            pass
        except Exception as exc:  # the border of a connection
            self._crashed("connection", exc)
        finally:
            self.clients.discard(client)
            self._leave(address)
            if sock.fileno() >= 0:
                self.poller.unregister(sock.fileno())
                sock.close()

    def _leave(self, address: str) -> None:
        left = self._per_address[address] - 1
        if left:
            self._per_address[address] = left
        else:
            del self._per_address[address]

    async def _serve_tls(self, sock: socket.socket, address: str, tls: ssl.SSLContext | None) -> None:
        assert tls is not None
        stream = trio.SSLStream(
            trio.SocketStream(trio.socket.from_stdlib_socket(sock)), tls, server_side=True, https_compatible=True
        )
        is_secure = False
        with trio.move_on_after(self.settings.head_deadline_seconds):
            try:
                await stream.do_handshake()
                is_secure = True
            except (trio.BrokenResourceError, ssl.SSLError, OSError):
                pass
        if not is_secure:
            self._leave(address)
            await trio.aclose_forcefully(stream)
            return
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge, stream, theirs)
            nursery.start_soon(self._serve_plain, ours, address)

    async def _sweep(self) -> None:
        """Wake whoever is late. A deadline is kept to within the sweep's interval."""
        while True:
            await trio.sleep(_SWEEP_SECONDS)
            now = self.poller.now = trio.current_time()
            for client in list(self.clients):
                if client.deadline_at < now:
                    client.on_late()

    def _source_crashed(self, source: Source, error: Exception) -> None:
        self._crashed("door", error)
        if isinstance(source, Client):
            source.scope.cancel(reason="a bug in its event code")

    def apply(self, settings: Settings) -> None:
        """A reload: new connections and the next requests of old ones have the new limits."""
        self.settings = settings
        self.heads.forget()
        for client in self.clients:
            client.settings = settings
