"""What each dialect brings to the tests: how it asks, how it is answered, and what it has no words for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from tests.matrix.asks import Ask, Seen

Json = dict[str, Any]


@dataclass(frozen=True)
class Words:
    """What a dialect calls the ends of an answer. Where two are the same, it cannot tell them apart."""

    stop: str
    stop_sequence: str
    length: str
    tools: str


class Caller(Protocol):
    """`lacks`: features that its requests have no words for; `hides`: counts that its answers have no place for;
    `always_warned`: (kind of engine, what is said of every request to it)."""

    name: str
    path: str
    surface: str
    words: Words
    lacks: frozenset[str]
    hides: frozenset[str]
    stream_type: str
    always_warned: frozenset[tuple[str, str]]

    def write(self, model: str, ask: Ask) -> Json:
        """The body of a request."""

    def read_document(self, body: bytes) -> Seen:
        """A whole answer; AssertionError for what is not one."""

    def read_stream(self, body: bytes) -> Seen:
        """A stream, to wherever it came."""

    def read_error(self, status: int, body: bytes) -> str:
        """The message of an error answer, whose shape is looked at."""


def sse_events(body: bytes) -> Iterator[tuple[str, str]]:
    """(event, data) of each event; comments are skipped, half an event at the end is left out."""
    for block in body.decode().split("\n\n")[:-1]:
        name, data = "", []
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            if field == "event":
                name = value.removeprefix(" ")
            elif field == "data":
                data.append(value.removeprefix(" "))
            else:
                assert not field or field in ("id", "retry"), block
        if data:
            yield name, "\n".join(data)


def arguments_of(text: str) -> Json:
    """Of a call whose arguments are text."""
    value = json.loads(text or "{}")
    assert isinstance(value, dict), text
    return value


def partly(arguments: str) -> Json:
    """Arguments; of a call that was cut off, what there is."""
    try:
        return arguments_of(arguments)
    except ValueError:
        return {"cut off": arguments}
