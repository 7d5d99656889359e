"""Pure. Which path is what: dialect, operation and who answers. One table, read once per distinct request head.

    RELAY     goes to a backend            LOCAL      answered from what the probes know
    CONTROL   goes to the control plane    REFUSED    known to be wrong: the error is ready
    STATE     is asked of the control plane, for a caller who is known here
Everything below /v1 is OpenAI's but `/v1/messages`, which is Anthropic's, as all below /anthropic/v1; the paths in
`_OLLAMA` are Ollama's; all the rest belongs to the control plane.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from mrproxy.canonical.request import Operation
from mrproxy.canonical.surface import Surface
from mrproxy.dialects.anthropic import ANTHROPIC
from mrproxy.dialects.dialect import Dialect
from mrproxy.dialects.ollama import OLLAMA
from mrproxy.dialects.openai import OPENAI
from mrproxy.dialects.responses.dialect import RESPONSES
from mrproxy.errors import ClientError, Code


class Way(enum.Enum):
    RELAY = enum.auto()
    LOCAL = enum.auto()
    CONTROL = enum.auto()
    REFUSED = enum.auto()
    STATE = enum.auto()


@dataclass(frozen=True, slots=True)
class Route:
    """`argument` is what the path names (a model, a response, a conversation, whose `item` may be named beside it);
    `code` and `allow` say why a REFUSED one is."""

    way: Way
    dialect: Dialect
    operation: Operation
    path: bytes = b""
    argument: str = ""
    code: Code | None = None
    allow: bytes = b""
    surface: Surface = Surface.OURS
    item: str = ""

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


_Found = tuple[bytes, Way, Operation, Surface]
_POST, _GET = b"POST", b"GET"
_OPENAI: dict[bytes, _Found] = {
    b"/v1/chat/completions": (_POST, Way.RELAY, Operation.CHAT, Surface.CHAT),
    b"/v1/completions": (_POST, Way.RELAY, Operation.COMPLETIONS, Surface.TEXT),
    b"/v1/embeddings": (_POST, Way.RELAY, Operation.EMBEDDINGS, Surface.EMBEDDINGS),
    b"/v1/audio/speech": (_POST, Way.RELAY, Operation.SPEECH, Surface.MEDIA),
    b"/v1/audio/transcriptions": (_POST, Way.RELAY, Operation.TRANSCRIPTIONS, Surface.MEDIA),
    b"/v1/audio/translations": (_POST, Way.RELAY, Operation.TRANSLATIONS, Surface.MEDIA),
    b"/v1/images/generations": (_POST, Way.RELAY, Operation.IMAGES, Surface.MEDIA),
    b"/v1/images/edits": (_POST, Way.RELAY, Operation.IMAGE_EDITS, Surface.MEDIA),
    b"/v1/rerank": (_POST, Way.RELAY, Operation.RERANK, Surface.MEDIA),
    b"/v1/score": (_POST, Way.RELAY, Operation.SCORE, Surface.MEDIA),
    b"/v1/moderations": (_POST, Way.RELAY, Operation.MODERATIONS, Surface.MEDIA),
    b"/v1/models": (_GET, Way.LOCAL, Operation.LIST_MODELS, Surface.OURS),
}
_RESPONSES: dict[bytes, _Found] = {
    b"/v1/responses": (_POST, Way.RELAY, Operation.RESPONSES, Surface.RESPONSES),
}
_ANTHROPIC: dict[bytes, _Found] = {
    b"/v1/messages": (_POST, Way.RELAY, Operation.MESSAGES, Surface.MESSAGES),
    b"/v1/messages/count_tokens": (_POST, Way.RELAY, Operation.COUNT_TOKENS, Surface.MESSAGES),
    b"/anthropic/v1/messages": (_POST, Way.RELAY, Operation.MESSAGES, Surface.MESSAGES),
    b"/anthropic/v1/messages/count_tokens": (_POST, Way.RELAY, Operation.COUNT_TOKENS, Surface.MESSAGES),
    b"/anthropic/v1/models": (_GET, Way.LOCAL, Operation.LIST_MODELS, Surface.OURS),
}
_OLLAMA: dict[bytes, _Found] = {
    b"/api/chat": (_POST, Way.RELAY, Operation.CHAT, Surface.OLLAMA),
    b"/api/generate": (_POST, Way.RELAY, Operation.GENERATE, Surface.OLLAMA),
    b"/api/embed": (_POST, Way.RELAY, Operation.EMBED, Surface.OLLAMA),
    b"/api/embeddings": (_POST, Way.RELAY, Operation.EMBEDDINGS, Surface.OLLAMA),
    b"/api/show": (_POST, Way.RELAY, Operation.SHOW, Surface.OLLAMA),
    b"/api/tags": (_GET, Way.LOCAL, Operation.LIST_MODELS, Surface.OURS),
    b"/api/ps": (_GET, Way.LOCAL, Operation.LIST_RUNNING, Surface.OURS),
    b"/api/version": (_GET, Way.LOCAL, Operation.VERSION, Surface.OURS),
}
_TABLES = ((_OPENAI, OPENAI), (_OLLAMA, OLLAMA), (_ANTHROPIC, ANTHROPIC), (_RESPONSES, RESPONSES))
# Ollama's own housekeeping of models: operators do that on the machine, callers not at all.
_OLLAMA_HOUSEKEEPING = frozenset(
    [b"/api/pull", b"/api/push", b"/api/create", b"/api/copy", b"/api/delete", b"/api/blobs"]
)
_MODELS = b"/v1/models/"
_ANTHROPIC_PREFIX = b"/anthropic"
_STORED = b"/v1/responses/"
_CONVERSATIONS = b"/v1/conversations"
CONTROL = Route(Way.CONTROL, OPENAI, Operation.GREETING)


def find_route(method: bytes, path: bytes, accept: bytes | None, anthropic_version: bytes | None = None) -> Route:
    """The route of a request; never raises. `accept` tells a browser at `/` from an Ollama client.

    Anthropic's SDK sends `anthropic_version` with everything: what it asks of `/v1/models` is its own list.
    """
    dialect: Dialect
    for table, dialect in _TABLES:
        if found := table.get(path):
            if anthropic_version is not None and table is _OPENAI and found[2] is Operation.LIST_MODELS:
                dialect = ANTHROPIC
            return _checked(method, path, found, dialect)
    speaks_anthropic = anthropic_version is not None or path.startswith(_ANTHROPIC_PREFIX)
    below = path.removeprefix(_ANTHROPIC_PREFIX)
    if below.startswith(_MODELS) and len(below) > len(_MODELS):
        dialect = ANTHROPIC if speaks_anthropic else OPENAI
        return _named(method, path, below[len(_MODELS) :], {_GET: Operation.GET_MODEL}, dialect)
    if path.startswith(_STORED) and len(path) > len(_STORED):
        return _stored_response(method, path)
    if path.startswith(_CONVERSATIONS) and path[len(_CONVERSATIONS) :][:1] in (b"", b"/"):
        return _conversation(method, path)
    if path == b"/" and method in (b"GET", b"HEAD") and (accept is None or b"text/html" not in accept):
        return Route(Way.LOCAL, OLLAMA, Operation.GREETING, path)
    if below.startswith(b"/v1/") or below == b"/v1":
        dialect = ANTHROPIC if speaks_anthropic else OPENAI
        return Route(Way.REFUSED, dialect, Operation.CHAT, path, code=Code.UNKNOWN_ROUTE)
    if path in _OLLAMA_HOUSEKEEPING or path.startswith(b"/api/blobs/"):
        return Route(Way.REFUSED, OLLAMA, Operation.CHAT, path, code=Code.NOT_IMPLEMENTED)
    return CONTROL


def _stored_response(method: bytes, path: bytes) -> Route:
    name, slash, rest = path[len(_STORED) :].partition(b"/")
    if not slash:
        operations = {_GET: Operation.GET_RESPONSE, b"DELETE": Operation.DELETE_RESPONSE}
        return _named(method, path, name, operations, RESPONSES)
    if rest == b"input_items":
        return _named(method, path, name, {_GET: Operation.LIST_INPUT_ITEMS}, RESPONSES)
    return Route(Way.REFUSED, RESPONSES, Operation.RESPONSES, path, code=Code.UNKNOWN_ROUTE)


_DELETE = b"DELETE"
_OF_CONVERSATIONS: tuple[Mapping[bytes, Operation], ...] = (
    {_POST: Operation.CREATE_CONVERSATION},
    {
        _GET: Operation.GET_CONVERSATION,
        _POST: Operation.UPDATE_CONVERSATION,
        _DELETE: Operation.DELETE_CONVERSATION,
    },
    {_GET: Operation.LIST_ITEMS, _POST: Operation.CREATE_ITEMS},
    {_GET: Operation.GET_ITEM, _DELETE: Operation.DELETE_ITEM},
)


def _conversation(method: bytes, path: bytes) -> Route:
    """`/v1/conversations`, `/{id}`, `/{id}/items`, `/{id}/items/{item}`."""
    parts = path[len(_CONVERSATIONS) :].split(b"/")[1:]
    if len(parts) > 3 or (len(parts) > 1 and parts[1] != b"items") or not all(parts):
        return Route(Way.REFUSED, RESPONSES, Operation.GET_CONVERSATION, path, code=Code.UNKNOWN_ROUTE)
    operations = _OF_CONVERSATIONS[len(parts)]
    allow = b", ".join((*operations, *([b"HEAD"] if _GET in operations else []), b"OPTIONS"))
    if method == b"OPTIONS":
        return Route(Way.LOCAL, RESPONSES, Operation.PREFLIGHT, path, allow=allow)
    operation = operations.get(_GET if method == b"HEAD" else method)
    if operation is None:
        code, wanted = Code.METHOD_NOT_ALLOWED, Operation.GET_CONVERSATION
        return Route(Way.REFUSED, RESPONSES, wanted, path, code=code, allow=allow)
    name, item = (unquote(part.decode("latin-1")) for part in (*parts[:1], *parts[2:], b"", b"")[:2])
    return Route(Way.STATE, RESPONSES, operation, path, name, item=item)


def _named(method: bytes, path: bytes, name: bytes, operations: Mapping[bytes, Operation], dialect: Dialect) -> Route:
    """Something local that the path names."""
    argument = unquote(name.decode("latin-1"))
    allow = b", ".join((*operations, b"HEAD", b"OPTIONS"))
    operation = operations.get(_GET if method == b"HEAD" else method)
    if method == b"OPTIONS":
        return Route(Way.LOCAL, dialect, Operation.PREFLIGHT, path, allow=allow)
    if operation is None:
        return Route(Way.REFUSED, dialect, Operation.GET_MODEL, path, code=Code.METHOD_NOT_ALLOWED, allow=allow)
    return Route(Way.LOCAL, dialect, operation, path, argument)


def _checked(method: bytes, path: bytes, found: _Found, dialect: Dialect) -> Route:
    wanted, way, operation, surface = found
    if method == b"OPTIONS":
        return Route(Way.LOCAL, dialect, Operation.PREFLIGHT, path, allow=wanted + b", OPTIONS")
    if method == wanted or (method == b"HEAD" and way is Way.LOCAL):
        return Route(way, dialect, operation, path, surface=surface)
    allow = wanted + (b", HEAD, OPTIONS" if way is Way.LOCAL else b", OPTIONS")
    return Route(Way.REFUSED, dialect, operation, path, code=Code.METHOD_NOT_ALLOWED, allow=allow)
