"""Shell. Keep-alive connections to one backend: taken last in first out, given back only after a whole exchange.

An idle connection stays registered in the pump's poller. Whatever happens to it there (bytes, a close, a reset) means
that it is dead: an idle connection has nothing to say. So the check costs nothing when a connection is taken.
"""

import socket

from mrproxy.sockets import GONE, IN, Poller


class Connection:
    """One socket to a backend. While an exchange uses it, the relay stands in its place in the poller."""

    __slots__ = ("_pool", "fd", "idle_since_at", "is_reused", "sock")

    def __init__(self, pool: "Pool", sock: socket.socket) -> None:
        self._pool = pool
        self.sock = sock
        self.fd = sock.fileno()
        self.idle_since_at = 0.0
        self.is_reused = False

    def on_ready(self, flags: int, now: float) -> None:
        """While idle."""
        if flags & (IN | GONE):
            self._pool.discard(self)

    def give_back(self, now: float) -> None:
        """After a complete, successful exchange."""
        self._pool.give(self, now)

    def detach(self) -> socket.socket:
        """Its socket, for something that is not HTTP any more."""
        self._pool.forget(self)
        return self.sock

    def close(self) -> None:
        """After anything else."""
        self._pool.close_connection(self)


class SingleConnection(Connection):
    """For one exchange: it never goes back to the pool."""

    __slots__ = ()

    def give_back(self, now: float) -> None:
        self.close()


class Pool:
    """The connections of one backend: the `idle` ones, oldest first; `open_connections` counts the busy ones too."""

    def __init__(self, poller: Poller, max_idle: int, idle_seconds: float) -> None:
        self._poller = poller
        self.idle: list[Connection] = []
        self.max_idle = max_idle
        self.idle_seconds = idle_seconds
        self.open_connections = 0

    @property
    def idle_connections(self) -> int:
        return len(self.idle)

    def take(self) -> Connection | None:
        """The connection that was used last, or None."""
        if not self.idle:
            return None
        connection = self.idle.pop()
        connection.is_reused = True
        return connection

    def add(self, sock: socket.socket, kind: type[Connection] = Connection) -> Connection:
        """A new connection, taken already."""
        connection = kind(self, sock)
        self.open_connections += 1
        self._poller.register(connection.fd, connection)
        return connection

    def give(self, connection: Connection, now: float) -> None:
        if len(self.idle) >= self.max_idle:
            self.close_connection(connection)
            return
        self._poller.sources[connection.fd] = connection
        connection.idle_since_at = now
        self.idle.append(connection)

    def discard(self, connection: Connection) -> None:
        """It died. If it is taken and its exchange has not begun yet, that exchange will find out."""
        if connection in self.idle:
            self.idle.remove(connection)
            self.close_connection(connection)

    def close_connection(self, connection: Connection) -> None:
        if connection.fd >= 0:
            self.forget(connection)
            connection.sock.close()

    def forget(self, connection: Connection) -> None:
        """Out of the poller, and not counted any more."""
        self._poller.unregister(connection.fd)
        connection.fd = -1
        self.open_connections -= 1

    def sweep(self, now: float) -> None:
        """Close what was idle for too long: the oldest stand first."""
        while self.idle and now - self.idle[0].idle_since_at > self.idle_seconds:
            self.close_connection(self.idle.pop(0))

    def close_idle(self) -> None:
        while self.idle:
            self.close_connection(self.idle.pop())
