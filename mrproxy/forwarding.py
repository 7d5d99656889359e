"""Shell. What is not inference goes to the control plane: one more upstream, on a Unix socket, by the same relay.

No key is asked here and nothing is accounted: the control plane has its own sign-in. Its cookies pass, and it learns
who asked, and how (X-Forwarded-*, set here; what the caller says of them counts only from a trusted proxy). What comes
to its socket without these comes from the owner of the data directory. After `101 Switching Protocols` both sockets
leave the pollers and a pair of tasks copies between them.
"""

import trio

from mrproxy.accept.client import Client
from mrproxy.accept.heads import Head
from mrproxy.accept.proxied import networks_of, origin_of
from mrproxy.canonical.exchange import Exchange
from mrproxy.counters import Counters
from mrproxy.dialects.usage import PassTap
from mrproxy.errors import Code, Refused
from mrproxy.fibers import Departed, Waker
from mrproxy.sockets import Poller, bridge, connect_unix
from mrproxy.upstream.answer import AnswerCache
from mrproxy.upstream.live import Pace, Pump
from mrproxy.upstream.pool import Connection, Pool, SingleConnection
from mrproxy.upstream.pump import Outcome, Relay
from mrproxy.wire.http1 import HOP_BY_HOP, PLAIN_RESPONSE

_CONNECT_SECONDS = 2.0
# Exports are streamed; a page takes milliseconds. Beyond this the control plane hangs.
_FIRST_BYTE_SECONDS = 60.0
# No key is asked here, so nobody may make us keep much: forms and JSON of the admin API are smaller.
_MAX_BODY_BYTES = 1 << 20
# What may be said again when a pooled connection breaks (RFC 9110 §9.2.2). Whatever else was said may have been done,
# so it goes on a connection of its own: 0.1 ms.
_REPEATABLE = frozenset([b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"])
_OURS = HOP_BY_HOP.union(
    (b"content-length", b"expect", b"sec-websocket-extensions"),
    (b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id"),
)
# Who watches has nothing to say but pings and a goodbye; and Hypercorn keeps what it takes for the rest of a message.
_MAX_TUNNEL_BYTES = 1 << 18


class ControlUplink:
    """The pump and the pool towards the control plane. `run` owns their tasks."""

    def __init__(
        self,
        socket_path: str,
        poller: Poller,
        pace: Pace,
        counters: Counters,
        *,
        is_tls: bool = False,
        trusted_proxies: str = "",
    ) -> None:
        self._socket_path = socket_path
        self.is_tls = is_tls
        self.trusted = networks_of(trusted_proxies)
        self.pump = Pump(poller, pace, counters, b"")
        self.pump.answers = AnswerCache(PLAIN_RESPONSE)
        self.pool = Pool(poller, max_idle=32, idle_seconds=60.0)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            try:
                nursery.start_soon(self.pump.sweep, self.pool.sweep, name="control sweep")
                task_status.started()
                await trio.sleep_forever()
            finally:
                self.pump.pipes.close_idle()

    async def connect(self, kind: type[Connection]) -> Connection:
        """Raises Refused when nobody listens: the control process is restarting."""
        try:
            with trio.fail_after(_CONNECT_SECONDS):
                return self.pool.add(await connect_unix(self._socket_path), kind)
        except (OSError, trio.TooSlowError) as exc:
            raise _unavailable() from exc


def _unavailable() -> Refused:
    return Refused(Code.CONTROL_UNAVAILABLE, "the control plane is not available at the moment")


async def forward(client: Client, head: Head, exchange: Exchange, uplink: ControlUplink, lines: bytes) -> None:
    """One exchange with the control plane, WebSocket upgrades included. Raises ProxyError and Departed."""
    body = await client.read_body(head, _MAX_BODY_BYTES)
    client.begin()
    uplink.pump.counters.control_forwards += 1
    origin = origin_of(client.peer_address, uplink.is_tls, head.http.headers, uplink.trusted)
    is_upgrade = _is_upgrade(head, body)
    kind = SingleConnection if is_upgrade else Connection
    payload = _request(head, body, is_upgrade, exchange.request_id, *origin)
    exchange.answer_lines = lines
    relay, outcome = await _exchange(client, head, exchange, uplink, payload, kind)
    match outcome:
        case Outcome.COMPLETE:
            return
        case Outcome.TUNNEL:
            await _tunnel(client, relay, exchange)
        case Outcome.FAILED:
            error = relay.error
            assert error is not None
            if error.code is Code.BACKEND_FAILED and not exchange.answer_bytes:  # it ended with our request in hand
                raise _unavailable() from error
            raise error
        case _:
            raise Departed


async def _exchange(
    client: Client, head: Head, exchange: Exchange, uplink: ControlUplink, payload: bytes, kind: type[Connection]
) -> tuple[Relay, Outcome]:
    connection = uplink.pool.take() if kind is Connection and head.http.method in _REPEATABLE else None
    while True:
        if connection is None:
            await client.fiber.become_task()
            connection = await uplink.connect(kind)
        finished: Waker[Outcome] = Waker(client.fiber)
        relay = Relay(
            uplink.pump,
            connection,
            client,
            exchange,
            PassTap(),
            _FIRST_BYTE_SECONDS,
            finished,
            holds_errors=False,
            is_http10=head.http.http10,
            has_no_body=head.http.method == b"HEAD",
        )
        with relay:
            relay.start(payload, uplink.pump.poller.clock())
            outcome = await finished.wait()
        if outcome is Outcome.FAILED and connection.is_reused and not exchange.answer_bytes:
            connection = None  # it had been closed while idle
            continue
        return relay, outcome


def _is_upgrade(head: Head, body: bytes) -> bool:
    """A server that refuses one is between two protocols for a moment. So it comes alone: with no body, and on a
    connection that carries nothing after it."""
    upgrade = head.http.upgrade
    is_websocket = upgrade is not None and upgrade.lower() == b"websocket"  # h2c would be a tunnel past this door
    return is_websocket and head.http.method == b"GET" and not body


def _request(head: Head, body: bytes, is_upgrade: bool, request_id: bytes, address: str, is_tls: bool) -> bytes:
    http = head.http
    lines = [b"%b: %b\r\n" % header for header in http.headers if header[0] not in _OURS]
    if http.get(b"host") is None:  # HTTP/1.0, as some probes of load balancers still speak it
        lines.append(b"host: gateway\r\n")
    lines.append(b"x-request-id: %b\r\nx-forwarded-for: %b\r\n" % (request_id, address.encode()))
    lines.append(b"x-forwarded-proto: %b\r\n" % (b"https" if is_tls else b"http"))
    if is_upgrade:
        lines.append(b"connection: upgrade\r\nupgrade: websocket\r\n")
    if body or http.content_length >= 0 or http.chunked:
        lines.append(b"content-length: %d\r\n" % len(body))
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (http.method, http.relative, b"".join(lines), body)


async def _tunnel(client: Client, relay: Relay, exchange: Exchange) -> None:
    """Both sides speak something else from now on; the connection ends with it."""
    answer, first = relay.answer, relay.held
    assert answer is not None
    assert first is not None
    upgrade = answer.head.get(b"upgrade") or b"websocket"
    head = b"%bconnection: upgrade\r\nupgrade: %b\r\n%b\r\n" % (answer.start, upgrade, exchange.answer_lines)
    exchange.status = 101
    exchange.keep_alive = False
    inner = relay.detach()
    try:
        await client.send_all(head + first)
        inner.sendall(client.take_inbox())  # a few bytes at most: a client waits for our 101 before it speaks
        client.is_tunnel = True
        await client.fiber.become_task()
        if client.is_draining:
            raise Departed
    except OSError:
        inner.close()
        raise Departed from None
    except BaseException:
        inner.close()
        raise
    outer = trio.SocketStream(trio.socket.from_stdlib_socket(client.detach()))
    idle_seconds = client.settings.client_write_idle_seconds
    await bridge(outer, inner, write_idle_seconds=idle_seconds, most_inward_bytes=_MAX_TUNNEL_BYTES)
