"""Pure. Output items while they grow, and what each is in the end: a document for the caller, parts of a chat."""

import msgspec

from mrproxy.canonical.conversation import RedactedThinking, Refusal, Text, Thinking, ToolCall
from mrproxy.canonical.deltas import Logprobs
from mrproxy.dialects.responses.documents import (
    FunctionCallItem,
    MessageItem,
    OutputItem,
    OutputPart,
    OutputRefusal,
    OutputText,
    ReasoningItem,
    ReasoningText,
    TokenLogprob,
    TopLogprob,
)
from mrproxy.dialects.responses.items import REDACTED, SIGNED
from mrproxy.dialects.responses.turns import AssistantTurn
from mrproxy.dialects.unreadable import UNREADABLE

IN_PROGRESS, COMPLETED, INCOMPLETE = "in_progress", "completed", "incomplete"


class _ChatTopLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _ChatLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[_ChatTopLogprob] | None = None


class _ChatLogprobs(msgspec.Struct):
    content: list[_ChatLogprob] | None = None


_logprobs = msgspec.json.Decoder(_ChatLogprobs)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class PartInProgress:
    """A text, a refusal, or reasoning, in pieces. `head` is the stream's constant beginning of each piece's event."""

    __slots__ = ("fragments", "head", "index", "kind", "logprobs")

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.index = index
        self.fragments: list[str] = []
        self.logprobs: list[TokenLogprob] = []
        self.head = b""

    @property
    def text(self) -> str:
        return "".join(self.fragments)

    def document(self) -> OutputPart:
        match self.kind:
            case "refusal":
                return OutputRefusal(self.text)
            case "reasoning_text":
                return ReasoningText(self.text)
            case _:
                return OutputText(self.text, logprobs=self.logprobs)


class ItemInProgress:
    """An output item as it grows. `sealed`: a signature or what only its provider can read, as in `encrypted_content`;
    `call`: a function call's id, name and arguments so far."""

    __slots__ = ("call", "head", "id", "index", "kind", "parts", "sealed", "shows_sealed", "status")

    def __init__(self, kind: str, id: str, index: int, call: "CallInProgress | None" = None) -> None:  # noqa: A002
        self.kind = kind
        self.id = id
        self.index = index
        self.status = IN_PROGRESS
        self.parts: list[PartInProgress] = []
        self.call = call
        self.sealed = ""
        self.shows_sealed = False
        self.head = b""

    def document(self, *, shows_sealed: bool = False) -> OutputItem:
        if self.call is not None:
            return FunctionCallItem(self.id, self.status, self.call.id, self.call.name, self.call.arguments)
        parts = [part.document() for part in self.parts]
        if self.kind == "reasoning":
            sealed = self.sealed if (shows_sealed or self.shows_sealed) and self.sealed else None
            texts = [part for part in parts if isinstance(part, ReasoningText)]
            return ReasoningItem(self.id, self.status, texts, sealed)
        return MessageItem(self.id, self.status, [part for part in parts if not isinstance(part, ReasoningText)])

    def say_in(self, turn: AssistantTurn) -> None:
        """What it is in a chat. A call that was cut off is nothing: no engine would take it back."""
        if self.call is not None:
            if self.status == COMPLETED:
                turn.call(ToolCall(self.call.id, self.call.name, self.call.arguments))
        elif self.kind == "message":
            turn.say([Refusal(part.text) if part.kind == "refusal" else Text(part.text) for part in self.parts])
        elif self.sealed.startswith(REDACTED):
            turn.think(RedactedThinking(self.sealed.removeprefix(REDACTED)))
        else:
            text = "".join(part.text for part in self.parts)
            turn.think(Thinking(text, self.sealed.removeprefix(SIGNED)))


class CallInProgress:
    """A function call whose arguments arrive in pieces."""

    __slots__ = ("fragments", "id", "name")

    def __init__(self, id: str, name: str) -> None:  # noqa: A002
        self.id = id
        self.name = name
        self.fragments: list[str] = []

    @property
    def arguments(self) -> str:
        return "".join(self.fragments)

    @property
    def is_complete(self) -> bool:
        """Its arguments are an object, to which nothing can be added."""
        try:
            _object.decode(self.arguments.encode())
        except UNREADABLE:
            return False
        return True


def read_logprobs(given: Logprobs) -> list[TokenLogprob]:
    """Chat completions' `logprobs` object as Responses has it; nothing if it is something else."""
    try:
        tokens = _logprobs.decode(given.content).content or []
    except UNREADABLE:
        return []
    return [
        TokenLogprob(
            token.token,
            token.bytes or [],
            token.logprob,
            [TopLogprob(top.token, top.bytes or [], top.logprob) for top in token.top_logprobs or ()],
        )
        for token in tokens
    ]
