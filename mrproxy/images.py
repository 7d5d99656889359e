"""Shell. Fetches the http(s) images of a request, for engines that want bytes (Ollama): the one place where a caller
makes us connect to somewhere of its choosing.

1. A name is resolved once, every address it has is checked, and the connection goes to a checked address itself, so a
   second answer of the name server changes nothing. TLS and Host keep the name. Redirects pass the same check.
2. Public addresses on ports 80 and 443; any port in the networks that the operator allows (`allowed`); nothing else.
3. Refused, unreachable and not found are one message: callers learn nothing of what is inside.
4. What comes is an image by its label and by its first bytes, and they agree, or it is refused.
5. Everything is bounded: images, bytes and seconds per request, redirects, and connections over the whole process; and
   what is worked through in one go, since h11 takes 25 µs for a piece of one byte, and 50 for an interim answer. A
   connection serves one image; nothing of one caller is seen by another. No proxies, cookies or credentials; no log.

Sources: IANA Special-Purpose Address Registries (RFC 6890, 9602, 9637), RFC 6052 (NAT64), the clouds' documents.
"""

import ipaddress
import socket
import ssl
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import TracebackType
from typing import Final, Self

import httpcore
import httpx
import trio

from mrproxy.canonical.conversation import Image
from mrproxy.config import Settings
from mrproxy.dialects.media import sniff_base64
from mrproxy.errors import ClientError, Code
from mrproxy.fibers import cancelled_alone
from mrproxy.upstream.bounded import PIECES_PER_TURN, are_crumbs

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolver = Callable[[str, int], Sequence[str]]  # name and port to numeric addresses; called in a thread

_PORTS = (80, 443)
_MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
# A name with more addresses than this is not tried further; each gets a few seconds of the request's.
_MAX_ADDRESSES = 4
_CONNECT_SECONDS = 3.0
# Of a host in an error message.
_MAX_QUOTED = 100
# One request may not take all connections of the process for its time limit.
_AT_ONCE_PER_REQUEST = 4
# All heads of one answer: as much as we take of a caller. They are read so little at a time that a read full of interim
# answers takes 5 ms; of a body, what is left of a read when it is refused is worked through.
_MAX_HEAD_BYTES = 32 << 10
_HEAD_READ_BYTES = 2 << 10
_BODY_READ_BYTES = 16 << 10

_REFUSED_V4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT, and Alibaba's metadata
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's metadata, in the midst of public addresses
            "169.254.0.0/16",  # link-local, and most clouds' metadata
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
# All that is given out for the public Internet, less what is special in it or carries an IPv4 address inside.
_PUBLIC_V6: Final = IPv6Network("2000::/3")
_REFUSED_V6: Final = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_NAT64: Final = IPv6Network("64:ff9b::/96")

_TYPES: Final = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "image/x-bmp": "image/bmp",
}
_HEADERS: Final = (
    (b"user-agent", b"mrproxy"),
    (b"accept", b"image/png,image/jpeg,image/gif,image/webp,image/bmp"),
    (b"accept-encoding", b"identity"),
    (b"connection", b"close"),
)
# What httpcore raises for everything between us and a server; it has no common base.
_FAILURES: Final = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


class _Refused(httpcore.ConnectError):
    """An address that we do not connect to; callers cannot tell it from one that does not answer."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """`image_bytes` per image, `total_bytes`, `images` and `seconds` per request, `connections` over the process."""

    image_bytes: int = 20 << 20
    total_bytes: int = 64 << 20
    images: int = 16
    seconds: float = 10.0
    connections: int = 32


_DEFAULT_LIMITS: Final = ImageLimits()


def is_permitted(address: Address, port: int, allowed: Iterable[Network] = ()) -> bool:
    """Whether we connect there for a caller."""
    address = _effective(address)
    return any(address in network for network in allowed) or (port in _PORTS and is_public(address))


def is_public(address: Address) -> bool:
    """Whether an address belongs to somebody on the public Internet."""
    address = _effective(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    return address in _PUBLIC_V6 and not any(address in network for network in _REFUSED_V6)


def _effective(address: Address) -> Address:
    """The IPv4 address that the kernel, or a NAT64 gateway, would connect to."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def resolve_name(host: str, port: int) -> list[str]:
    """All addresses of a name. Blocks."""
    found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in found]


class _Wire(httpcore.AsyncNetworkStream):
    """A connection that carries a bounded head, and then a body."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._head_bytes = 0
        self.has_head = False  # whoever has got it says so

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self.has_head:
            return await self._stream.read(min(max_bytes, _BODY_READ_BYTES), timeout)
        if self._head_bytes > _MAX_HEAD_BYTES:
            raise httpcore.RemoteProtocolError("the head is too large")
        data = await self._stream.read(min(max_bytes, _HEAD_READ_BYTES), timeout)
        self._head_bytes += len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Wire(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects by name to permitted addresses only."""

    def __init__(self, allowed: tuple[Network, ...], resolve: Resolver, threads: int) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._dialer = httpcore.TrioBackend()
        # Threads of its own: names that a hostile name server never answers must not use up those of the process.
        self._threads = trio.CapacityLimiter(threads)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        for address in (await self._addresses(host, port))[:_MAX_ADDRESSES]:
            with trio.move_on_after(_CONNECT_SECONDS):
                try:
                    return _Wire(await self._dialer.connect_tcp(str(address), port, socket_options=socket_options))
                except httpcore.ConnectError:
                    continue
        raise httpcore.ConnectError

    async def _addresses(self, host: str, port: int) -> list[Address]:
        resolve = partial(self._resolve, host, port)
        try:
            found = await trio.to_thread.run_sync(resolve, abandon_on_cancel=True, limiter=self._threads)
            addresses = [ipaddress.ip_address(each.partition("%")[0]) for each in found]
        except (OSError, ValueError) as exc:
            raise httpcore.ConnectError from exc
        # One address inside among public ones is how a name is made to look harmless.
        if not all(is_permitted(address, port, self._allowed) for address in addresses):
            raise _Refused
        return list(dict.fromkeys(addresses))


class _Allowance:
    """What one request may still receive."""

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes


class _Base64:
    """Bytes as they come → base64, a read at a time: 20 MiB at once would hold up every stream of the worker."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._rest = b""
        self._pieces: list[str] = []

    def add(self, piece: bytes) -> None:
        self.size_bytes += len(piece)
        data = self._rest + piece
        whole = len(data) - len(data) % 3
        self._pieces.append(b2a_base64(data[:whole], newline=False).decode("ascii"))
        self._rest = data[whole:]

    def finish(self) -> str:
        return "".join((*self._pieces, b2a_base64(self._rest, newline=False).decode("ascii")))


class ImageFetcher:
    """One per process. `async with` owns the connections; leave it after the requests that use it have ended."""

    def __init__(
        self,
        *,
        allowed: tuple[Network, ...] = (),
        limits: ImageLimits = _DEFAULT_LIMITS,
        resolve: Resolver = resolve_name,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = limits
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context or ssl.create_default_context(),
            max_connections=limits.connections,
            max_keepalive_connections=0,
            network_backend=_CheckedNetwork(allowed, resolve, limits.connections),
        )

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._pool.__aexit__(kind, error, traceback)

    async def fetch_all(self, urls: Sequence[str]) -> dict[str, Image]:
        """Each address with its image; ClientError for the first that is none. Cancelled leaves no connection."""
        wanted = tuple(dict.fromkeys(urls))
        if len(wanted) > self._limits.images:
            raise _error(f"more than {self._limits.images} images have to be fetched")
        found: dict[str, Image] = {}
        failures: list[ClientError] = []
        allowance = _Allowance(self._limits.total_bytes)
        at_once = trio.CapacityLimiter(_AT_ONCE_PER_REQUEST)

        async def fetch(url: str) -> None:
            async with at_once:
                try:
                    found[url] = await self._fetch(url, allowance)
                except ClientError as error:
                    failures.append(error)
                    nursery.cancel_scope.cancel(reason="another image failed")

        with trio.move_on_after(self._limits.seconds) as scope:
            async with cancelled_alone(), trio.open_nursery() as nursery:
                for url in wanted:
                    nursery.start_soon(fetch, url, name="fetch an image")
        if failures:
            raise failures[0]
        if scope.cancelled_caught:
            raise _error(f"fetching the images took longer than {self._limits.seconds:g} seconds")
        return {url: found[url] for url in wanted}

    async def _fetch(self, url: str, allowance: _Allowance) -> Image:
        target = _parsed(url)
        host = target.raw_host.decode("ascii")[:_MAX_QUOTED]
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                async with self._pool.stream("GET", _for_httpcore(target), headers=_headers_for(target)) as response:
                    response.extensions["network_stream"].has_head = True
                    location = _header(response, b"location")
                    if response.status in _REDIRECTS and location:
                        target = _redirected(target, location)
                        continue
                    if response.status != 200:
                        raise _unfetchable(host)
                    return await self._read_image(response, host, allowance)
        except _FAILURES as exc:
            raise _unfetchable(host) from exc
        raise _error(f"the image at {host} is redirected more than {_MAX_REDIRECTS} times")

    async def _read_image(self, response: httpcore.Response, host: str, allowance: _Allowance) -> Image:
        claimed = _header(response, b"content-type").partition(";")[0].strip().lower()
        if not claimed.startswith("image/"):
            raise _error(f"what is at {host} does not say that it is an image")
        data = await self._read(response, host, allowance)
        found = sniff_base64(data)
        if not found:
            raise _error(f"the image at {host} is not a PNG, JPEG, GIF, WebP or BMP")
        if _TYPES.get(claimed, claimed) != found:
            raise _error(f"the image at {host} is not of the type that its server says")
        return Image(media_type=found, data=data)

    async def _read(self, response: httpcore.Response, host: str, allowance: _Allowance) -> str:
        """The body in base64. What is too large, or in crumbs, is not read to its end."""
        length = _header(response, b"content-length")
        is_too_large = length.isdecimal() and int(length[:20]) > min(self._limits.image_bytes, allowance.left_bytes)
        is_crumbs = False
        body = _Base64()
        pieces = 0
        if not is_too_large:
            try:
                async for piece in response.aiter_stream():
                    pieces += 1
                    if pieces % PIECES_PER_TURN == 0:
                        await trio.lowlevel.checkpoint()
                    if is_too_large or is_crumbs:
                        continue  # what was read already
                    body.add(piece)
                    allowance.left_bytes -= len(piece)
                    is_too_large = body.size_bytes > self._limits.image_bytes or allowance.left_bytes < 0
                    is_crumbs = are_crumbs(pieces, body.size_bytes)
                    if is_too_large or is_crumbs:
                        await response.aclose()  # the next read fails, which ends httpcore's generators in order
            except httpcore.ReadError:
                if not is_too_large and not is_crumbs:
                    raise
        if is_too_large:
            raise _error(
                f"the image at {host} is too large: {self._limits.image_bytes:,} bytes for one, "
                f"{self._limits.total_bytes:,} for all of a request"
            )
        if is_crumbs:
            raise _error(f"the image at {host} comes in pieces that are too small")
        return body.finish()


def _parsed(url: str) -> httpx.URL:
    """One parser decides what is asked of whom: httpx's. Nothing is read out of the text a second time."""
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise _error("the address of an image is not a URL") from None
    if target.userinfo:
        raise _error("the address of an image must not have a user name or password")
    if not _is_askable(target):
        raise _error("the address of an image is not an http(s) URL")
    return target


def _redirected(target: httpx.URL, location: str) -> httpx.URL:
    try:
        onward = target.join(location)
    except (httpx.InvalidURL, ValueError) as exc:
        raise _Refused from exc
    if onward.userinfo or not _is_askable(onward):
        raise _Refused
    return onward


def _is_askable(target: httpx.URL) -> bool:
    is_port = target.port is None or 1 <= target.port < 1 << 16
    return target.scheme in ("http", "https") and bool(target.raw_host) and is_port


def _for_httpcore(target: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path)


def _headers_for(target: httpx.URL) -> list[tuple[bytes, bytes]]:
    return [(b"host", target.netloc), *_HEADERS]


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for each, value in response.headers if each.lower() == name), "")


def _unfetchable(host: str) -> ClientError:
    return _error(
        f"the image at {host} could not be fetched: it must be at a public address, on port 80 or 443, "
        "and answer with status 200"
    )


def _error(words: str) -> ClientError:
    return ClientError(Code.INVALID_FIELD, words, param="messages")


def open_images(settings: Settings) -> ImageFetcher:
    """As configured; the settings were checked when they were loaded."""
    limits = ImageLimits(image_bytes=settings.image_max_bytes, seconds=settings.image_deadline_seconds)
    return ImageFetcher(allowed=parse_networks(settings.image_allow_networks), limits=limits)


def parse_networks(text: str) -> tuple[Network, ...]:
    """Comma-separated networks in CIDR notation. Raises ValueError."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
