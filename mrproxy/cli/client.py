"""Shell. Asks a gateway's `/admin/api/v1`: on its Unix socket as the owner of the data directory, or at a URL by a key.

`http.client`, not httpx: that one leaks the socket when connecting fails, loads slowly, and believes in proxies of the
environment. Nothing is followed anywhere else, so that a key goes to the host that was named and to no other. A POST
has an `Idempotency-Key`, so what was sent and not answered is sent once more, and done once.
Errors are ClickExceptions in the gateway's own words; exit status 1: it refused, 3: there is none.
Read next: `gateway.py`, for which gateway; docs/api.md, for what it answers.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4

import click
import msgspec

from mrproxy.cli.output import harmless
from mrproxy.provision import DataDirectory

PREFIX = "/admin/api/v1"
PAGE_ITEMS = 500
PIECE_BYTES = 64 * 1024
REDIRECTS = (301, 302, 303, 307, 308)
# Of the front door and of proxies before it: nobody is behind it.
NOBODY = (502, 503, 504)
# A DELETE would find nothing the second time.
REPEATABLE = ("GET", "POST", "PATCH")

Query = Mapping[str, object]


class Unreachable(click.ClickException):
    """No gateway answers there."""

    exit_code = 3

    def __init__(self, message: str) -> None:
        super().__init__(harmless(message))


class Refused(click.ClickException):
    """The gateway's own words. `code` is the last part of the problem's type."""

    exit_code = 1

    def __init__(self, message: str, status: int, code: str = "", lines: tuple[str, ...] = ()) -> None:
        super().__init__(harmless("\n  ".join((message, *lines))))
        self.status = status
        self.code = code


class Detail(msgspec.Struct, frozen=True):
    pointer: str = ""
    detail: str = ""


class ProblemBody(msgspec.Struct, frozen=True):
    """RFC 9457, as far as it is shown."""

    title: str
    type: str = ""
    detail: str = ""
    instance: str = ""
    errors: tuple[Detail, ...] = ()


class ForeignError(msgspec.Struct, frozen=True):
    """`{"error": {"message": …}}`: what the front door itself says."""

    class Inner(msgspec.Struct, frozen=True):
        message: str

    error: Inner


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway: of a directory here, or at a URL with perhaps a key. `timeout_seconds` is for each wait alone."""

    timeout_seconds: float
    directory: DataDirectory | None = None
    url: str = ""
    key: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        return self.url if self.directory is None else str(self.directory.control_socket)


class UnixConnection(HTTPConnection):
    """HTTP on a Unix socket."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("mrproxy", timeout=timeout_seconds)
        self.path = path

    def connect(self) -> None:
        sock = socket(AF_UNIX)
        sock.settimeout(self.timeout)
        try:
            sock.connect(str(self.path))
        except BaseException:
            sock.close()
            raise
        self.sock = sock


@dataclass(frozen=True, slots=True)
class Api:
    """What is asked goes on a connection of its own. All methods raise Refused and Unreachable."""

    place: Place

    def get(self, path: str, **query: object) -> Any:
        return self.ask("GET", path, query=query)

    def post(self, path: str, body: object = None) -> Any:
        return self.ask("POST", path, body)

    def patch(self, path: str, body: object) -> Any:
        return self.ask("PATCH", path, body)

    def delete(self, path: str) -> Any:
        return self.ask("DELETE", path)

    def ask(self, method: str, path: str, body: object = None, query: Query | None = None) -> Any:
        """The JSON of the answer; None where it has no content."""
        with self._answered(method, path, body, query or {}) as response:
            content = self._read(response)
        if response.status == 204:
            return None
        return decoded(content, response)

    def items(self, path: str, limit: int | None = None, **query: Any) -> Iterator[dict[str, Any]]:
        """Of a list, over all its pages, at most `limit`."""
        left, cursor = limit, ""
        while left is None or left > 0:
            size = PAGE_ITEMS if left is None else min(PAGE_ITEMS, left)
            page = self.ask("GET", path, query={**query, "limit": size, "cursor": cursor})
            yield from page["items"]
            left = None if left is None else left - len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def pieces(self, path: str, **query: object) -> Iterator[bytes]:
        """A long answer as it comes. One that breaks off is Unreachable: its beginning is no answer."""
        with self._answered("GET", path, None, query) as response:
            while piece := self._read(response, PIECE_BYTES):
                yield piece
            if response.length:  # http.client takes a connection that is closed early for the end
                raise Unreachable(f"{self.place.shown}: the answer broke off")

    def found(self, path: str, name: str, **query: Any) -> dict[str, Any]:
        """One entity: by its own address, or by its name if one only in the list has it. `query` narrows the list."""
        try:
            if "/" not in name:
                entity: dict[str, Any] = self.get(one(path, name))
                return entity
        except Refused as refusal:
            if refusal.status != 404:
                raise
        named = [each for each in self.items(path, **query) if each["name"] == name]
        if len(named) == 1:
            return named[0]
        kind = path.rpartition("/")[2].removesuffix("s")
        if named:
            raise Refused(f"{len(named)} {kind}s are called {name!r}: use the id", 404, "not-found")
        raise Refused(f"There is no {kind} {name!r}.", 404, "not-found")

    @contextmanager
    def _answered(self, method: str, path: str, body: object, query: Query) -> Iterator[HTTPResponse]:
        content = None if body is None else msgspec.json.encode(body)
        asked = f"?{urlencode(found)}" if (found := query_of(query)) else ""
        target = urlsplit(self.place.url).path + PREFIX + path + asked
        headers = self._headers(method, content)
        with closing(self._connection()) as first, closing(self._connection()) as second:
            try:
                response = self._exchange(first, method, target, content, headers)
            except ConnectionError as exc:  # sent, perhaps, and not answered
                if isinstance(exc, ConnectionRefusedError) or method not in REPEATABLE:
                    raise self._unreachable(exc) from exc
                try:
                    response = self._exchange(second, method, target, content, headers)
                except ConnectionError as again:
                    raise self._unreachable(again) from again
            if not 200 <= response.status < 300:
                raise self._refusal(response)
            yield response

    def _exchange(
        self, connection: HTTPConnection, method: str, target: str, content: bytes | None, headers: dict[str, str]
    ) -> HTTPResponse:
        """Raises ConnectionError, and Unreachable for what would not be better the second time."""
        try:
            connection.request(method, target, content, headers)
            return connection.getresponse()
        except ConnectionError:
            raise
        except (OSError, HTTPException) as exc:
            raise self._unreachable(exc) from exc

    def _headers(self, method: str, content: bytes | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "mrproxy-cli"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        if method == "POST":
            headers["Idempotency-Key"] = uuid4().hex
        if self.place.key:
            headers["Authorization"] = f"Bearer {self.place.key}"
        return headers

    def _connection(self) -> HTTPConnection:
        """Not connected yet."""
        place = self.place
        if place.directory is not None:
            return UnixConnection(place.directory.control_socket, place.timeout_seconds)
        parts = urlsplit(place.url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return HTTPSConnection(host, parts.port, timeout=place.timeout_seconds, context=context)
        return HTTPConnection(host, parts.port, timeout=place.timeout_seconds)

    def _read(self, response: HTTPResponse, size: int | None = None) -> bytes:
        try:
            return response.read(size)
        except (OSError, HTTPException) as exc:
            raise Unreachable(f"{self.place.shown}: the answer broke off ({reason_of(exc)})") from exc

    def _unreachable(self, exc: Exception) -> Unreachable:
        if self.place.directory is not None:
            what = "start one with `mrproxy serve`, or name another with --data-dir or --url"
            return Unreachable(f"no gateway answers on {self.place.shown} ({reason_of(exc)}); {what}")
        return Unreachable(f"no gateway answers at {self.place.shown} ({reason_of(exc)})")

    def _refusal(self, response: HTTPResponse) -> Refused | Unreachable:
        if response.status in REDIRECTS:
            there = response.headers.get("Location", "elsewhere")
            return Refused(f"{self.place.shown} sends us to {there}: use that URL if it is right", response.status)
        body = self._read(response)
        try:
            return refused(msgspec.json.decode(body, type=ProblemBody), response.status, self.place)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
        try:
            said = msgspec.json.decode(body, type=ForeignError).error.message
        except (msgspec.MsgspecError, UnicodeDecodeError):
            said = f"what answers is no gateway of ours (status {response.status} {response.reason})"
        message = f"{self.place.shown}: {said}"
        return Unreachable(message) if response.status in NOBODY else Refused(message, response.status)


def refused(problem: ProblemBody, status: int, place: Place) -> Refused:
    """Title, sentence, what is wrong where, and what may help."""
    lines = [f"{each.pointer}: {each.detail}" for each in problem.errors]
    if status == 401 and not place.key:
        lines.append("No key was sent: use --key-file, or MRPROXY_KEY.")
    if status == 403:
        lines.append("`mrproxy whoami` shows what this key may do.")
    if problem.instance:
        lines.append(f"(request {problem.instance})")
    message = f"{problem.title}: {problem.detail}" if problem.detail else problem.title
    return Refused(message, status, problem.type.rpartition(":")[2], tuple(lines))


def decoded(content: bytes, response: HTTPResponse) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        kind = response.headers.get("Content-Type", "nothing known")
        raise Refused(
            f"the answer is no JSON, but {kind}: what answers is no gateway of ours", response.status
        ) from exc


def reason_of(exc: Exception) -> str:
    """Short, and never with what was sent."""
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc) or type(exc).__name__


def one(path: str, name: str) -> str:
    """The address of one entity."""
    return f"{path}/{quote(name, safe='')}"


def query_of(query: Query) -> dict[str, str]:
    """What is None or empty is not asked for."""
    return {name: text_of(value) for name, value in query.items() if value is not None and value != ""}


def text_of(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case date():
            return value.isoformat()
        case _:
            return str(value)
