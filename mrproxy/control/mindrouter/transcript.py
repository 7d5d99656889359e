"""Pure. What was said in a request, out of its captured bodies: for people who read, not for programs that go on.

A body that was cut off, or of a kind that is not known here, is shown as its text. Answers are a JSON document, events
(`data: {…}`) or lines of JSON; each piece has its text in one of PLACES, the paths that the four dialects put it at.
Sources: the dialects' references in docs/dialects.md.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

# Where the text of an answer, or of a piece of one, stands. The first that is there counts.
PLACES: tuple[tuple[str | int, ...], ...] = (
    ("choices", 0, "delta", "content"),
    ("choices", 0, "message", "content"),
    ("choices", 0, "text"),
    ("message", "content"),
    ("response",),
    ("delta", "text"),
)
REASONS: tuple[tuple[str | int, ...], ...] = (
    ("choices", 0, "finish_reason"),
    ("done_reason",),
    ("delta", "stop_reason"),
    ("stop_reason",),
)
CONTENT = ("messages", "prompt", "input", "response_format", "model", "stream")
MESSAGE_TYPES = frozenset({"message", "output_text", "text"})


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """`parameters` is whatever else was in the body."""

    messages: Any = None
    prompt: Any = None
    parameters: dict[str, Any] | None = None
    response_format: Any = None


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    content: str | None
    finish_reason: str | None
    chunk_count: int


def read_request(body: bytes) -> Asked:
    found = as_object(body)
    if found is None:
        return Asked(prompt=body.decode("utf-8", "replace") or None)
    rest = {name: value for name, value in found.items() if name not in CONTENT}
    return Asked(
        messages=found.get("messages"),
        prompt=found.get("prompt", found.get("input")),
        parameters=rest,
        response_format=found.get("response_format"),
    )


def read_answer(body: bytes) -> Answered:
    pieces = list(pieces_of(body))
    texts = [text for piece in pieces if (text := text_of(piece))]
    reasons = [reason for piece in pieces if isinstance(reason := first_at(piece, REASONS), str)]
    content = "".join(texts) if pieces else body.decode("utf-8", "replace")
    return Answered(content=content or None, finish_reason=reasons[-1] if reasons else None, chunk_count=len(pieces))


def pieces_of(body: bytes) -> Iterator[dict[str, Any]]:
    whole = as_object(body)
    if whole is not None:
        yield whole
        return
    for line in body.splitlines():
        piece = as_object(line.removeprefix(b"data:"))
        if piece is not None:
            yield piece


def text_of(piece: dict[str, Any]) -> str:
    found = first_at(piece, PLACES)
    if isinstance(found, str):
        return found
    if piece.get("type") == "response.output_text.delta" and isinstance(piece.get("delta"), str):
        return str(piece["delta"])
    return "".join(texts_in(piece.get("content"))) + "".join(texts_in(piece.get("output")))


def texts_in(blocks: object) -> Iterator[str]:
    """Of Anthropic's blocks, or of output items of the Responses API."""
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict) and block.get("type") in MESSAGE_TYPES:
            if isinstance(block.get("text"), str):
                yield block["text"]
            yield from texts_in(block.get("content"))


def first_at(piece: object, places: Sequence[Sequence[str | int]]) -> object:
    """What stands at the first of these places that has something."""
    return next((found for place in places if (found := value_at(piece, place)) is not None), None)


def value_at(piece: object, place: Sequence[str | int]) -> object:
    for step in place:
        match piece, step:
            case dict(), str():
                piece = piece.get(step)
            case [first, *_], 0:
                piece = first
            case _:
                return None
    return piece


def as_object(data: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
