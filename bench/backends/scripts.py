"""Pure. The answer to a prompt, token by token: what every dialect of every mock engine renders.

thinking -> text or JSON -> calls, then why it ended. A token that a dialect has nothing to send for (Ollama shows a
call only when it is whole) still costs its time and is still counted.
"""

import json
import re
from dataclasses import dataclass

from bench.backends.prompts import URL_BYTES, Prompt, refuses_malformed
from bench.backends.schemas import break_instance, make_instance

# Five characters at most, the space before them included: about what a tokenizer makes of text and of JSON.
_TOKEN = re.compile(r"\s?\S{1,5}|\s+")
MAX_QUOTED_CHARS = 400

THINKING, TEXT, CALL = "thinking", "text", "call"
# Why it ended, in OpenAI's words, plus the one OpenAI lacks.
STOP, LENGTH, TOOL_CALLS, STOP_SEQUENCE = "stop", "length", "tool_calls", "stop_sequence"


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    call: int = -1  # of a CALL: its number
    is_last: bool = False  # of its call


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: str  # JSON


@dataclass(frozen=True, slots=True)
class Script:
    tokens: tuple[Token, ...]
    calls: tuple[Call, ...]
    finish: str
    stop_sequence: str | None = None
    is_cached: bool = False
    is_named: bool = False  # the caller named the tool: vLLM then says "stop"

    @property
    def thinking(self) -> str:
        return "".join(token.text for token in self.tokens if token.kind == THINKING)

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens if token.kind == TEXT)

    @property
    def whole_calls(self) -> list[tuple[int, Call]]:
        """The calls that were not cut off, with their numbers."""
        return [(token.call, self.calls[token.call]) for token in self.tokens if token.kind == CALL and token.is_last]

    @property
    def reasoning_tokens(self) -> int:
        return sum(token.kind == THINKING for token in self.tokens)


def split_tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


@refuses_malformed
def write_script(prompt: Prompt) -> Script:
    calls = tuple(_make_call(prompt, name, given) for name, given in prompt.wanted_calls)
    text, stop_sequence = _cut_at_stop(_write_text_beside(calls, prompt), prompt.stops)
    calls = calls if stop_sequence is None else ()
    tokens = [Token(THINKING, piece) for piece in split_tokens(_write_thinking(prompt))]
    tokens += [Token(TEXT, piece) for piece in split_tokens(text)]
    for number, call in enumerate(calls):
        tokens += _call_tokens(number, call)
    # Whatever is answered, something is: an engine that stops at once has still sampled its end.
    tokens = tokens or [Token(TEXT, "")]
    finish = TOOL_CALLS if calls else STOP_SEQUENCE if stop_sequence is not None else STOP
    if prompt.limit is not None and prompt.limit < len(tokens):
        tokens, finish, stop_sequence = tokens[: prompt.limit], LENGTH, None
    return Script(tuple(tokens), calls, finish, stop_sequence, prompt.is_cached, bool(prompt.forced))


def _make_call(prompt: Prompt, name: str, given: object) -> Call:
    arguments = make_instance(prompt.tools[name] or {"type": "object"}) if given is None else given
    return Call(name, json.dumps(arguments, ensure_ascii=False))


def _call_tokens(number: int, call: Call) -> list[Token]:
    pieces = ["", *split_tokens(call.arguments)]  # the first one is the name
    return [Token(CALL, piece, number, at == len(pieces)) for at, piece in enumerate(pieces, 1)]


def _cut_at_stop(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    found = min(((text.find(stop), stop) for stop in stops if stop and stop in text), default=None)
    return (text, None) if found is None else (text[: found[0]], found[1])


def _write_thinking(prompt: Prompt) -> str:
    if not prompt.effort:
        return ""
    return f"Thinking ({prompt.effort}): the user said {len(prompt.conversation.text)} characters."


def _write_text(prompt: Prompt) -> str:
    if prompt.schema is not None:
        return _write_json(prompt)
    if prompt.wanted_text:
        return prompt.wanted_text
    heard = prompt.conversation
    said = []
    if heard.results:
        said.append("The tools said: " + "; ".join(heard.results))
    if heard.images:
        sizes = ", ".join("a URL" if size == URL_BYTES else f"{size} bytes" for size in heard.images)
        said.append(f"Images: {len(heard.images)} ({sizes})")
    if not heard.results:
        said.append(f"You said: {heard.text[:MAX_QUOTED_CHARS]}")
    return ". ".join(said)


def _write_text_beside(calls: tuple[Call, ...], prompt: Prompt) -> str:
    """What is said before a call: only what the prompt says, and nothing where a call is all that there may be."""
    if not calls:
        return _write_text(prompt)
    return prompt.wanted_text if prompt.forced is None else ""


def _write_json(prompt: Prompt) -> str:
    any_object = prompt.schema is True
    instance = {"answer": prompt.conversation.text[:40]} if any_object else make_instance(prompt.schema)
    if "break-json" in prompt.conversation.text:
        return json.dumps(instance if isinstance(instance, dict | list) else {}, ensure_ascii=False)[:-1]
    if "break-schema" in prompt.conversation.text:
        return "this is not JSON" if any_object else json.dumps(break_instance(prompt.schema))
    return json.dumps(instance, ensure_ascii=False)
