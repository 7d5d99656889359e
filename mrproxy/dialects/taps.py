"""Pure. Which tap looks at an answer of the straight lane, by the dialect that both sides speak."""

from mrproxy.canonical.exchange import Usage
from mrproxy.canonical.request import Shape
from mrproxy.dialects.anthropic.usage import MessagesTap
from mrproxy.dialects.responses.usage import ResponsesTap
from mrproxy.dialects.usage import JsonTap, NdjsonTap, SseTap, Tap, read_whole


def make_tap(dialect: str, shape: Shape, cuts: bool) -> Tap:
    """The tap for one answer of an engine."""
    if dialect == "anthropic":
        return MessagesTap(shape is Shape.SSE)
    if dialect == "responses":
        return ResponsesTap(shape is Shape.SSE)
    if shape is Shape.SSE:
        return SseTap(cuts)
    if shape is Shape.NDJSON:
        return NdjsonTap()
    return JsonTap(dialect)


def read_document_usage(document: bytes, dialect: str) -> Usage | None:
    """The usage in a whole JSON answer."""
    if dialect in ("openai", "ollama"):
        return read_whole(document, dialect)
    tap = make_tap(dialect, Shape.JSON, cuts=False)
    tap.receive_whole(document)
    return tap.usage
