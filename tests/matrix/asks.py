"""What a test asks and what it sees, whatever the dialect: each behaviour is written once, in these words.

`Ask` is what every caller of `callers/` can put into its own request, `Seen` is what it reads out of its own answer.
"""

import base64
from dataclasses import dataclass, field, replace
from typing import Any

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(192))
PNG_BASE64 = base64.b64encode(PNG).decode()

# Why an answer ended, in the words of the tests; each dialect has its own.
STOP, STOP_SEQUENCE, LENGTH, TOOLS = "stop", "stop_sequence", "length", "tools"


@dataclass(frozen=True)
class Picture:
    """By its bytes, or by a URL."""

    data: bytes = b""
    url: str = ""

    @property
    def base64(self) -> str:
        return base64.b64encode(self.data).decode()

    @property
    def link(self) -> str:
        return self.url or f"data:image/png;base64,{self.base64}"


@dataclass(frozen=True)
class Call:
    """An assistant's call of a tool. `id` is empty where a dialect has none."""

    name: str
    arguments: dict[str, Any]
    id: str = ""


@dataclass(frozen=True)
class Result:
    call_id: str
    name: str
    text: str


@dataclass(frozen=True)
class Thought:
    """What an assistant thought in an earlier turn; signed where its engine signs."""

    text: str
    signature: str = ""


Part = str | Picture | Call | Result | Thought


@dataclass(frozen=True)
class Turn:
    """A tool's results are a turn of role `tool`, with nothing but Results in it."""

    role: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Tool:
    name: str
    schema: dict[str, Any]
    description: str = "A tool."


@dataclass(frozen=True)
class Ask:
    """`choice`: none, required, or a tool's name. `thinking`: on, off, or how much (low, medium, high).

    `output`: any JSON object (True), or what fits a schema. `limit` is there because a dialect demands one.
    """

    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    choice: str | None = None
    parallel: bool | None = None
    thinking: bool | str | None = None
    output: bool | dict[str, Any] | None = None
    limit: int | None = 200
    stops: tuple[str, ...] = ()
    stream: bool = False

    def but(self, **changes: Any) -> "Ask":
        return replace(self, **changes)


@dataclass
class Seen:
    """`finish` in the dialect's own word. Counts are None where the dialect does not say them.

    `error` is what a stream ended with instead of an answer; `is_whole`: it has the dialect's own last word.
    """

    text: str = ""
    thinking: str = ""
    signature: str = ""
    calls: list[Call] = field(default_factory=list)
    finish: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    error: str | None = None
    is_whole: bool = False
    order: list[str] = field(default_factory=list)  # of a stream: what came, each run of one kind once
    id: str = ""

    def note(self, kind: str) -> None:
        if self.order[-1:] != [kind]:
            self.order.append(kind)

    @property
    def named_calls(self) -> list[tuple[str, dict[str, Any]]]:
        return [(call.name, call.arguments) for call in self.calls]


def user(*parts: str | Picture) -> Turn:
    return Turn("user", parts)


def asked(*texts: str | Picture, **changes: Any) -> Ask:
    """One message of the user."""
    return Ask((user(*texts),)).but(**changes)
