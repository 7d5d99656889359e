"""Pure. What a request asks of the model, whatever its dialect, and the rules by which a prompt chooses the answer.

The rules look at the last message of the user (and for `cached` at everything that is said):

    call:NAME            call that tool, once per mention; `call:NAME{"a": 1}` with these arguments
    say:TEXT             at its beginning: answer TEXT, up to the end of the line; calls may follow in further lines
    cached               half of the prompt came out of the prefix cache
    break-schema         JSON, but not what the schema asks for
    break-json           JSON that ends too early

Without a rule the answer tells what was understood: the tools' results, the images' sizes, the user's words.
Read next: `scripts.py`, the answer token by token.
"""

import base64
import binascii
import functools
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import msgspec

Json = Any
URL_BYTES = -1  # the size of an image that is only pointed to
_CALL = re.compile(r"call:([A-Za-z0-9_-]+)")
_SAY = "say:"
_DECODER = json.JSONDecoder()


class Refusal(Exception):
    """The engine does not take this request; `param` names the field where the dialect's errors do."""

    def __init__(self, message: str, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status


@dataclass(slots=True)
class Conversation:
    """What was said, collected message by message."""

    text: str = ""  # the last message of the user
    texts: list[str] = field(default_factory=list)  # everybody's
    results: list[str] = field(default_factory=list)  # of tools, since the last message of the user
    images: list[int] = field(default_factory=list)  # sizes in bytes, or URL_BYTES

    def hear_user(self, text: str) -> None:
        self.text = text
        self.results.clear()
        self.texts.append(text)

    def hear(self, text: str) -> None:
        self.texts.append(text)

    def hear_result(self, text: str) -> None:
        self.results.append(text)
        self.texts.append(text)


@dataclass(frozen=True, slots=True)
class Prompt:
    conversation: Conversation
    tools: dict[str, Json] = field(default_factory=dict)  # schemas of the arguments, by name
    forced: str | None = None  # a call there must be: of this tool, or of any where it is ""
    may_call: bool = True
    is_parallel: bool = True
    effort: str = ""  # how hard to think, in the dialect's own word; "": not at all
    schema: Json = None  # the answer must fit it; True: any JSON object
    stops: tuple[str, ...] = ()
    limit: int | None = None
    choices: int = 1
    logprobs: int | None = None  # how many alternatives to show per token; None: no logprobs at all

    @property
    def is_cached(self) -> bool:
        return any("cached" in text for text in self.conversation.texts)

    @property
    def is_special(self) -> bool:
        """Whether it needs a script: the plain answer would be wrong."""
        heard = self.conversation
        asked = bool(self.tools or self.effort or self.stops or heard.images or heard.results)
        asked = asked or self.schema is not None or self.choices > 1 or self.logprobs is not None
        return asked or self.is_cached or heard.text.startswith(_SAY)

    @property
    def wanted_calls(self) -> list[tuple[str, Json]]:
        """(tool, arguments or None where the schema is to supply them), in order."""
        wanted = [(name, given) for name, given in mentioned_calls(self.conversation.text) if name in self.tools]
        if self.forced:
            named = [call for call in wanted if call[0] == self.forced]
            return self._narrow(named or [(self.forced, None)])
        if self.forced == "":
            return self._narrow(wanted or [(next(iter(self.tools)), None)])
        return self._narrow(wanted) if self.may_call and not self.conversation.results else []

    @property
    def wanted_text(self) -> str:
        text = self.conversation.text
        return text[len(_SAY) :].partition("\n")[0] if text.startswith(_SAY) else ""

    def _narrow(self, calls: list[tuple[str, Json]]) -> list[tuple[str, Json]]:
        return calls if self.is_parallel else calls[:1]


class _Glance(msgspec.Struct):
    role: str = ""
    content: str | list[msgspec.Raw] | None = None
    images: list[msgspec.Raw] | None = None


_glance_at = msgspec.json.Decoder(_Glance).decode


def may_be_special(messages: Iterable[msgspec.Raw]) -> bool:
    """Whether messages are worth reading closely: false means that the plain answer will do.

    Benchmarks come through here. One look at each message took 0.4 µs; searching a body of 1 KB for five words, 4 µs.
    """
    try:
        glances = [_glance_at(message) for message in messages]
    except msgspec.MsgspecError:
        return True
    return any(
        glance.role == "tool" or glance.images or not isinstance(glance.content, str) or is_special_text(glance.content)
        for glance in glances
    )


def is_special_text(text: str) -> bool:
    """The same for a prompt that is one text."""
    return "cached" in text or text.startswith(_SAY)


P = ParamSpec("P")
R = TypeVar("R")


def refuses_malformed(read: Callable[P, R]) -> Callable[P, R]:
    """For readers that take JSON to have the documented shape: one of another shape is a 400, not the mock's end."""

    @functools.wraps(read)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return read(*args, **kwargs)
        except msgspec.MsgspecError:
            raise  # the dialects word it themselves
        except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError, re.error) as exc:
            raise Refusal(f"malformed request: {exc!r}") from exc

    return checked


def mentioned_calls(text: str) -> list[tuple[str, Json]]:
    found: list[tuple[str, Json]] = []
    for match in _CALL.finditer(text):
        arguments = None
        if text.startswith("{", match.end()):
            try:
                arguments = _DECODER.raw_decode(text, match.end())[0]
            except ValueError:
                arguments = None
        found.append((match.group(1), arguments))
    return found


def image_size(data: str, reason: str) -> int:
    """Bytes of an image in base64; Refusal says `reason` if it is none."""
    try:
        size = len(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError) as exc:
        raise Refusal(reason) from exc
    if not size:
        raise Refusal(reason)
    return size


def image_url_size(url: str, reason: str) -> int:
    """The same of a data URL; of any other URL only that it is one."""
    if url.startswith(("http://", "https://")):
        return URL_BYTES
    head, comma, data = url.partition(",")
    if not head.startswith("data:") or not head.endswith(";base64") or not comma:
        raise Refusal(reason)
    return image_size(data, reason)
