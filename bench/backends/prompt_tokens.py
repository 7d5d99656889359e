"""Pure. How the mocks count a prompt: by what the model would read of it, so that a tokenizer's route counts the same.

What only says how to answer (`stream`, bounds, sampling) counts nothing; how the JSON around it is spaced neither. The
template is ChatML, with messages, tools and variables as the JSON that they are.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bench.backends.openai_json import count_prompt_tokens

Json = Any
_BEGIN, _END = b"<|im_start|>", b"<|im_end|>\n"
_GENERATION = b"<|im_start|>assistant\n"


def apply_template(
    messages: Iterable[msgspec.Raw],
    tools: Json = None,
    variables: Mapping[str, Json] | None = None,
    add_generation_prompt: bool = True,
) -> bytes:
    """The text of a chat: UTF-8."""
    pieces: list[bytes | msgspec.Raw] = []
    if tools:
        pieces += (_BEGIN, b"tools\n", msgspec.json.encode(tools), _END)
    for message in messages:
        pieces += (_BEGIN, message, _END)
    if variables:
        pieces.append(msgspec.json.encode(variables, order="sorted"))
    if add_generation_prompt:
        pieces.append(_GENERATION)
    return b"".join(map(bytes, pieces))


def template_variables(kwargs: Mapping[str, Json] | None, reasoning_effort: Json) -> dict[str, Json]:
    """What a chat hands to its template: its own fields win over `chat_template_kwargs`, as in vLLM."""
    found = dict(kwargs or {})
    return found | {"reasoning_effort": reasoning_effort} if reasoning_effort is not None else found


def count_text(text: bytes | str) -> int:
    """Of a text as it stands, special tokens included."""
    return count_prompt_tokens(len(text.encode() if isinstance(text, str) else text))


def count_prompts(prompt: msgspec.Raw) -> int:
    """Of a completion's prompts: a text, texts, token ids or lists of them."""
    given = msgspec.json.decode(prompt)
    if isinstance(given, str):
        return count_text(given)
    if not isinstance(given, list):
        return 1
    ids = sum(isinstance(item, int) for item in given)
    lists = sum(len(item) for item in given if isinstance(item, list))
    return max(1, ids + lists + sum(count_text(item) for item in given if isinstance(item, str)))


def count_values(*values: Json) -> int:
    """Of fields that go into the prompt in whatever way; those that are empty are none. Raw ones count as they are."""
    size = 0
    for value in values:
        if isinstance(value, str):
            size += len(value.encode())
        elif isinstance(value, msgspec.Raw):
            size += len(memoryview(value))
        elif value:
            size += len(msgspec.json.encode(value))
    return count_prompt_tokens(size)
