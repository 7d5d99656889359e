"""Pure. The fields of a request's body: read by type with each mistake named, and those that nobody here knows.

What is not known is not looked at: it stays `msgspec.Raw`, is passed on to an engine that may know it, and is warned
of when it can only belong to another dialect.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from mrproxy.dialects.unreadable import UNREADABLE
from mrproxy.errors import ClientError, Code

T = TypeVar("T")


# Top-level fields of Ollama's, Anthropic's and the Responses API that no engine with OpenAI's dialect reads (ollama
# docs/api.md, Anthropic Messages reference, OpenAI Responses reference, 2026). Names that they share are not here.
FOREIGN = frozenset(
    {
        *("options", "think", "format", "keep_alive", "template", "raw", "context", "images", "shift", "truncate"),
        *("width", "height", "steps", "_debug_render_only"),
        *("system", "stop_sequences", "thinking", "cache_control", "container", "context_management", "mcp_servers"),
        *("output_config", "output_format", "betas", "inference_geo", "anthropic_version", "anthropic_beta"),
        *("instructions", "input", "text", "truncation", "include", "previous_response_id", "background", "reasoning"),
        *("conversation", "max_output_tokens", "max_tool_calls", "prompt"),
    }
)

_MISSING = re.compile(r"missing required field `(\w+)`")
_PATH = re.compile(r" - at `\$\.?([^`]+)`")
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """Raises ClientError naming the field."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise _mistake(str(exc)) from None
    except UNREADABLE as exc:
        raise ClientError(Code.INVALID_JSON, f"the body is not valid JSON: {exc}") from None


def _mistake(reason: str) -> ClientError:
    place = _PATH.search(reason)
    where = place[1] if place else ""
    if missing := _MISSING.search(reason):
        name = f"{where}.{missing[1]}" if where else missing[1]
        return ClientError(Code.MISSING_FIELD, f"you must provide a {name} parameter", param=name)
    problem = _PATH.sub("", reason)
    return invalid(where, f"invalid value for '{where}': {problem}" if where else problem)


def invalid(param: str, message: str) -> ClientError:
    """A field that says what cannot be done."""
    return ClientError(Code.INVALID_FIELD, message, param=param or None)


def missing(param: str) -> ClientError:
    return ClientError(Code.MISSING_FIELD, f"you must provide a {param} parameter", param=param)


def members(body: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The members of an object, unread. Raises ClientError."""
    return decode(_fields, body)


def is_said(value: msgspec.Raw) -> bool:
    """A null is as good as nothing."""
    return bytes(value) not in (b"", b"null")


def left_over(fields: Mapping[str, msgspec.Raw], known: frozenset[str]) -> dict[str, msgspec.Raw]:
    return {name: value for name, value in fields.items() if name not in known and is_said(value)}


def unknown_names(value: msgspec.Raw, known: frozenset[str]) -> set[str]:
    """The members of a list of objects that are not `known`. Raises ClientError: what a typed decoder skips (a name
    that is not UTF-8) this one refuses."""
    return {name for entry in decode(_objects, value) for name in left_over(entry, known)}


def pass_on(extras: Mapping[str, msgspec.Raw], body: dict[str, object], engine: str, warnings: list[str]) -> None:
    """Put into an engine's `body` what it may know; what the encoder wrote itself stays."""
    for name, value in extras.items():
        if name in body:
            warnings.append(f"{name} is ignored: the request says it otherwise")
        elif name in FOREIGN:
            warnings.append(f"{name} is ignored: {engine} has no such field")
        else:
            body[name] = value


def ignore(names: Iterable[str], engine: str, warnings: list[str]) -> None:
    warnings.extend(f"{name} is ignored: {engine} has none" for name in names)
