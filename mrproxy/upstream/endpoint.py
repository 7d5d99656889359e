"""Shell. Where a server is and how to reach it: TCP, TLS or a Unix socket, and the request line and headers it gets.

TLS goes through `sockets.bridge`: the pump keeps a plain socket and never learns of it.
"""

import socket
import ssl
from functools import partial
from urllib.parse import urlsplit

import trio

from mrproxy.sockets import bridge, connect_tcp, connect_unix
from mrproxy.wire.http1 import RequestHead

# A caller's own id is told to the backend if it can be a UUID: llama-cpp-python answers 400 to any other.
_UUID_LENGTHS = (32, 36)
# A relay has its own deadlines; this is for what is left of one whose server stopped reading.
_WRITE_IDLE_SECONDS = 120.0
# The version that all of Anthropic's documents since 2023 ask for; others do not read it.
ANTHROPIC_VERSION = b"2023-06-01"
_OWN_LINES = b"content-type: application/json\r\nuser-agent: mrproxy\r\nanthropic-version: %b\r\n" % ANTHROPIC_VERSION


class Endpoint:
    """`http://host:port/prefix`, `https://…` or `unix:/path`. ValueError for anything else."""

    def __init__(self, url: str, api_key: str | None = None, kind: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "unix"):
            raise ValueError(f"not a backend URL: {url}")
        if not (parts.path if parts.scheme == "unix" else parts.hostname):
            raise ValueError(f"a backend URL without a host or path: {url}")
        self.url = url
        self.is_tls = parts.scheme == "https"
        self.unix_path = parts.path if parts.scheme == "unix" else ""
        self.host = parts.hostname or ""
        default_port = 443 if self.is_tls else 80
        self.port = parts.port or default_port
        # Users copy an SDK's base URL, which ends in /v1; our paths bring their own.
        path = "" if self.unix_path else parts.path.rstrip("/").removesuffix("/v1")
        self.prefix = path.encode()
        name = f"[{self.host}]" if ":" in self.host else self.host
        self.shown = f"{parts.scheme}://{name}:{self.port}{path}" if not self.unix_path else url
        host = name if self.port == default_port else f"{name}:{self.port}"
        self._host_line = b"host: %b\r\n" % (host.encode() or b"localhost")
        self.is_anthropic = kind == "anthropic"
        credential = b"x-api-key: %b\r\n" if self.is_anthropic else b"authorization: Bearer %b\r\n"
        self.key_line = credential % api_key.encode() if api_key else b""
        # Once per backend: reading the system's certificates takes 10 ms or more.
        self.tls = ssl.create_default_context() if self.is_tls else None

    async def connect(self, nursery: trio.Nursery) -> socket.socket:
        """A connected non-blocking socket; `nursery` owns the tasks of TLS. Raises OSError."""
        if self.unix_path:
            return await connect_unix(self.unix_path)
        sock = await connect_tcp(self.host, self.port)
        return sock if self.tls is None else await self._secure(sock, self.tls, nursery)

    async def _secure(self, sock: socket.socket, tls: ssl.SSLContext, nursery: trio.Nursery) -> socket.socket:
        stream = trio.SSLStream(
            trio.SocketStream(trio.socket.from_stdlib_socket(sock)),
            tls,
            server_hostname=self.host,
            https_compatible=True,
        )
        try:
            await stream.do_handshake()
        except (ssl.SSLError, trio.BrokenResourceError) as exc:
            await trio.aclose_forcefully(stream)
            raise OSError(f"TLS handshake failed: {exc}") from exc
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        if nursery.cancel_scope.cancel_called:
            await trio.aclose_forcefully(stream)
            raise OSError("whoever would carry the bytes has ended")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        nursery.start_soon(partial(bridge, stream, theirs, write_idle_seconds=_WRITE_IDLE_SECONDS))
        return ours

    def request(self, head: RequestHead, body: bytes, request_id: bytes) -> bytes:
        """A whole request for this server: the caller's own headers, our credentials and length."""
        return b"%b %b%b HTTP/1.1\r\n%b%b%b%bcontent-length: %d\r\n\r\n%b" % (
            head.method,
            self.prefix,
            head.relative,
            self._host_line,
            self.key_line,
            head.forward,
            b"x-request-id: %b\r\n" % request_id if len(request_id) in _UUID_LENGTHS else b"",
            len(body),
            body,
        )

    def get_request(self, path: bytes) -> bytes:
        """A small question of our own."""
        return b"GET %b%b HTTP/1.1\r\n%b%b%baccept: */*\r\nuser-agent: mrproxy-probe\r\n\r\n" % (
            self.prefix,
            path,
            self._host_line,
            self.key_line,
            b"anthropic-version: %b\r\n" % ANTHROPIC_VERSION if self.is_anthropic else b"",
        )

    def translated_request(self, path: bytes, trace: bytes, body: bytes, request_id: bytes) -> bytes:
        """A request of our own making: nothing of the caller's headers but `trace`, its trace context."""
        return b"POST %b%b HTTP/1.1\r\n%b%b%b%b%bcontent-length: %d\r\n\r\n%b" % (
            self.prefix,
            path,
            self._host_line,
            self.key_line,
            _OWN_LINES,
            trace,
            b"x-request-id: %b\r\n" % request_id if len(request_id) in _UUID_LENGTHS else b"",
            len(body),
            body,
        )
