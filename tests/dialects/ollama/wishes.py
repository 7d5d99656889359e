"""Requests that Ollama's dialect can express, drawn for round trips."""

import json

import msgspec
from hypothesis import strategies as st

from mrproxy.canonical.conversation import (
    ChatRequest,
    EmbeddingRequest,
    FormatKind,
    Image,
    Message,
    Part,
    ResponseFormat,
    Role,
    Sampling,
    Text,
    TextRequest,
    Thinking,
    ThinkingWish,
    Tool,
    ToolCall,
    ToolResult,
)

PNG = "iVBORw0KGgo="
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
NAME = st.text("abcdefghij_", min_size=1, max_size=8)
SCHEMA = st.sampled_from([{"type": "object"}, {"type": "object", "properties": {"ä": {"type": "string"}}}]).map(
    lambda value: msgspec.Raw(msgspec.json.encode(value))
)
IMAGE = st.sampled_from([Image("image/png", PNG), Image("image/jpeg", "/9j/4AAQ")])
NUMBER = st.floats(0, 2).map(lambda value: round(value, 3))
FORMAT = (
    st.none()
    | st.just(ResponseFormat(FormatKind.JSON_OBJECT))
    | st.builds(ResponseFormat, st.just(FormatKind.JSON_SCHEMA), SCHEMA)
)
THINKING = st.sampled_from(
    [None, ThinkingWish(enabled=True), ThinkingWish(enabled=False), ThinkingWish(enabled=True, effort="high")]
)
KEEP_ALIVE = st.sampled_from([None, msgspec.Raw(b'"5m"'), msgspec.Raw(b"0"), msgspec.Raw(b"-1")])
SAMPLING = st.builds(
    Sampling,
    **{
        name: st.none() | NUMBER
        for name in (
            *("temperature", "top_p", "min_p", "typical_p"),
            *("presence_penalty", "frequency_penalty", "repetition_penalty"),
        )
    },
    **{name: st.none() | st.integers(1, 99) for name in ("max_tokens", "seed", "top_k", "top_logprobs")},
    stop=st.lists(TEXT, max_size=2).map(tuple),
    logprobs=st.none() | st.booleans(),
)
ENGINE_OPTIONS = st.dictionaries(st.sampled_from(["mirostat", "num_gpu", "num_keep"]), st.just(msgspec.Raw(b"1")))
EXTRAS = st.dictionaries(st.sampled_from(["truncate", "shift"]), st.just(msgspec.Raw(b"false")))
COMMON = {
    "model": st.just("gpt-oss"),
    "sampling": SAMPLING,
    "response_format": FORMAT,
    "thinking": THINKING,
    "streams": st.booleans(),
    "keep_alive": KEEP_ALIVE,
    "context_length": st.none() | st.integers(1, 9999),
    "engine_options": ENGINE_OPTIONS,
    "extras": EXTRAS,
}


@st.composite
def turns(draw: st.DrawFn) -> tuple[Message, ...]:
    messages: list[Message] = []
    for turn in range(draw(st.integers(0, 3))):
        images = draw(st.lists(IMAGE, max_size=2))
        texts = [Text(text) for text in draw(st.lists(TEXT, max_size=1))]
        role = draw(st.sampled_from([Role.SYSTEM, Role.USER]))
        messages.append(Message(role, (*images, *texts)))
        thoughts = [Thinking(text) for text in draw(st.lists(TEXT, max_size=1))]
        calls = [
            ToolCall(f"call_{turn}_{number}", draw(NAME), json.dumps({draw(NAME): draw(TEXT)}, ensure_ascii=False))
            for number in range(draw(st.integers(0, 2)))
        ]
        answer: list[Part] = [*thoughts, *texts, *calls]
        messages.append(Message(Role.ASSISTANT, tuple(answer)))
        messages += [Message(Role.TOOL, (ToolResult(call.id, tuple(texts), name=call.name),)) for call in calls]
    return tuple(messages)


CHATS = st.builds(
    ChatRequest,
    **COMMON,
    messages=turns(),
    tools=st.lists(st.builds(Tool, NAME, st.none() | TEXT, SCHEMA), max_size=2).map(tuple),
)
TEXTS = st.builds(
    TextRequest,
    **COMMON,
    prompts=TEXT.map(lambda text: (text,)),
    raw=st.just(False),
    suffix=st.none() | TEXT,
    system=st.none() | TEXT,
    template=st.none() | TEXT,
    context=st.lists(st.integers(0, 99), max_size=3).map(tuple),
    images=st.lists(IMAGE, max_size=2).map(tuple),
) | st.builds(TextRequest, **COMMON, prompts=TEXT.map(lambda text: (text,)), raw=st.just(True))
_EMBEDDED = {name: COMMON[name] for name in ("model", "keep_alive", "context_length", "engine_options")}
EMBEDDINGS = st.one_of(
    st.builds(
        EmbeddingRequest,
        **_EMBEDDED,
        inputs=inputs,
        is_single=st.just(is_single),
        dimensions=st.none() | st.integers(1, 99),
        truncate=st.none() | st.booleans(),
    )
    for is_single, inputs in (
        (True, TEXT.map(lambda text: (text,))),
        (False, st.lists(TEXT, max_size=3).map(tuple)),
    )
)
