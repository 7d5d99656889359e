"""Pure. Which path is what: dialect, operation and who answers. One table, read once per distinct request head.

    RELAY     goes to a backend            LOCAL      answered from what the probes know
    CONTROL   goes to the control plane    REFUSED    known to be wrong: the error is ready
Everything below /v1 is OpenAI's, the paths in `_OLLAMA` are Ollama's; all the rest belongs to the control plane.
"""

import enum
from dataclasses import dataclass
from urllib.parse import unquote

from mrproxy.canonical.request import Operation
from mrproxy.dialects.dialect import Dialect
from mrproxy.dialects.ollama import OLLAMA
from mrproxy.dialects.openai import OPENAI
from mrproxy.errors import ClientError, Code


class Way(enum.Enum):
    RELAY = enum.auto()
    LOCAL = enum.auto()
    CONTROL = enum.auto()
    REFUSED = enum.auto()


@dataclass(frozen=True, slots=True)
class Route:
    """`argument` is what the path names (a model id); `code` and `allow` say why a REFUSED one is."""

    way: Way
    dialect: Dialect
    operation: Operation
    path: bytes = b""
    argument: str = ""
    code: Code | None = None
    allow: bytes = b""

    def refusal(self) -> ClientError:
        """The error of a REFUSED route."""
        if self.code is Code.METHOD_NOT_ALLOWED:
            allowed = self.allow.decode()
            return ClientError(
                Code.METHOD_NOT_ALLOWED, f"only {allowed} is allowed here", headers=((b"allow", self.allow),)
            )
        if self.code is Code.NOT_IMPLEMENTED:
            return ClientError(
                Code.NOT_IMPLEMENTED, f"{self.path.decode('ascii', 'replace')} is not offered through this gateway"
            )
        return ClientError(Code.UNKNOWN_ROUTE, f"unknown path {self.path.decode('ascii', 'replace')}")


_OPENAI: dict[bytes, tuple[bytes, Way, Operation]] = {
    b"/v1/chat/completions": (b"POST", Way.RELAY, Operation.CHAT),
    b"/v1/completions": (b"POST", Way.RELAY, Operation.COMPLETIONS),
    b"/v1/embeddings": (b"POST", Way.RELAY, Operation.EMBEDDINGS),
    b"/v1/models": (b"GET", Way.LOCAL, Operation.LIST_MODELS),
}
_OLLAMA: dict[bytes, tuple[bytes, Way, Operation]] = {
    b"/api/chat": (b"POST", Way.RELAY, Operation.CHAT),
    b"/api/generate": (b"POST", Way.RELAY, Operation.GENERATE),
    b"/api/embed": (b"POST", Way.RELAY, Operation.EMBED),
    b"/api/embeddings": (b"POST", Way.RELAY, Operation.EMBEDDINGS),
    b"/api/show": (b"POST", Way.RELAY, Operation.SHOW),
    b"/api/tags": (b"GET", Way.LOCAL, Operation.LIST_MODELS),
    b"/api/ps": (b"GET", Way.LOCAL, Operation.LIST_RUNNING),
    b"/api/version": (b"GET", Way.LOCAL, Operation.VERSION),
}
# Ollama's own housekeeping of models: operators do that on the machine, callers not at all.
_OLLAMA_HOUSEKEEPING = frozenset(
    [b"/api/pull", b"/api/push", b"/api/create", b"/api/copy", b"/api/delete", b"/api/blobs"]
)
_MODELS = b"/v1/models/"
CONTROL = Route(Way.CONTROL, OPENAI, Operation.GREETING)


def find_route(method: bytes, path: bytes, accept: bytes | None) -> Route:
    """The route of a request; never raises. `accept` tells a browser at `/` from an Ollama client."""
    for table, dialect in ((_OPENAI, OPENAI), (_OLLAMA, OLLAMA)):
        if found := table.get(path):
            return _checked(method, path, found, dialect)
    if path.startswith(_MODELS) and len(path) > len(_MODELS):
        route = _checked(method, path, (b"GET", Way.LOCAL, Operation.GET_MODEL), OPENAI)
        model = unquote(path[len(_MODELS) :].decode("latin-1"))
        return Route(route.way, OPENAI, route.operation, path, model, route.code, route.allow)
    if path == b"/" and method in (b"GET", b"HEAD") and (accept is None or b"text/html" not in accept):
        return Route(Way.LOCAL, OLLAMA, Operation.GREETING, path)
    if path.startswith(b"/v1/") or path == b"/v1":
        return Route(Way.REFUSED, OPENAI, Operation.CHAT, path, code=Code.UNKNOWN_ROUTE)
    if path in _OLLAMA_HOUSEKEEPING or path.startswith(b"/api/blobs/"):
        return Route(Way.REFUSED, OLLAMA, Operation.CHAT, path, code=Code.NOT_IMPLEMENTED)
    return CONTROL


def _checked(method: bytes, path: bytes, found: tuple[bytes, Way, Operation], dialect: Dialect) -> Route:
    wanted, way, operation = found
    if method == b"OPTIONS":
        return Route(Way.LOCAL, dialect, Operation.PREFLIGHT, path, allow=wanted + b", OPTIONS")
    if method == wanted or (method == b"HEAD" and way is Way.LOCAL):
        return Route(way, dialect, operation, path)
    allow = wanted + (b", HEAD, OPTIONS" if way is Way.LOCAL else b", OPTIONS")
    return Route(Way.REFUSED, dialect, operation, path, code=Code.METHOD_NOT_ALLOWED, allow=allow)
