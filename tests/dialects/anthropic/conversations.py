"""Requests that Anthropic's dialect can express, drawn for round trips."""

import json

import msgspec
from hypothesis import strategies as st

from mrproxy.canonical.conversation import (
    ChatRequest,
    File,
    FormatKind,
    Image,
    Message,
    RedactedThinking,
    ResponseFormat,
    Role,
    Sampling,
    Text,
    Thinking,
    ThinkingWish,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
NAME = st.text("abcdefghij_", min_size=1, max_size=8)
BASE64 = st.sampled_from(["aGk=", "AAAA", "AQID"])
RAW = st.sampled_from([{"type": "object"}, {"type": "object", "properties": {"ä": {"type": "string"}}}]).map(
    lambda value: msgspec.Raw(msgspec.json.encode(value))
)
ARGUMENTS = st.dictionaries(NAME, TEXT | st.integers() | st.none(), max_size=2).map(
    lambda value: json.dumps(value, ensure_ascii=False)
)
IMAGE = st.builds(Image, media_type=st.sampled_from(["image/png", "image/webp"]), data=BASE64) | st.builds(
    Image, url=st.just("https://example.org/a.png")
)
FILE = st.one_of(
    st.builds(File, name=st.just("") | NAME, media_type=st.just("application/pdf"), data=BASE64),
    st.builds(File, name=st.just("") | NAME, media_type=st.just("text/plain"), text=TEXT),
    st.builds(File, name=st.just("") | NAME, url=st.just("https://example.org/a.pdf")),
    st.builds(File, name=st.just("") | NAME, file_id=NAME),
)
HEARD = st.lists(st.builds(Text, TEXT) | IMAGE | FILE, min_size=1, max_size=3).map(tuple)
SAID = st.lists(
    st.one_of(
        st.builds(Text, TEXT),
        st.builds(Thinking, TEXT, NAME),
        st.builds(RedactedThinking, TEXT),
        st.builds(ToolCall, NAME, NAME, ARGUMENTS),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
RESULT = st.builds(ToolResult, NAME, HEARD | st.just(()), st.booleans())


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Turns alternate; results come before what the user adds; one system message at most, and first."""
    messages: list[Message] = []
    if draw(st.booleans()):
        texts = draw(st.lists(st.builds(Text, TEXT), min_size=1, max_size=2))
        messages.append(Message(Role.SYSTEM, tuple(texts)))
    for number in range(draw(st.integers(1, 4))):
        if number % 2:
            messages.append(Message(Role.ASSISTANT, draw(SAID)))
            continue
        results = draw(st.lists(RESULT, max_size=2))
        messages += [Message(Role.TOOL, (result,)) for result in results]
        if not results or draw(st.booleans()):
            messages.append(Message(Role.USER, draw(HEARD)))
    return tuple(messages)


@st.composite
def tool_fields(draw: st.DrawFn) -> dict[str, object]:
    tools = draw(
        st.lists(st.builds(Tool, NAME, st.none() | TEXT, RAW, st.none() | st.booleans()), max_size=2).map(tuple)
    )
    if not tools or draw(st.booleans()):
        return {"tools": tools}
    mode = draw(st.sampled_from(ToolMode))
    choice = ToolChoice(mode, draw(NAME) if mode is ToolMode.NAMED else "")
    parallel = None if mode is ToolMode.NONE else draw(st.none() | st.booleans())
    return {"tools": tools, "tool_choice": choice, "parallel_tool_calls": parallel}


EFFORT = st.none() | st.sampled_from(["low", "medium", "high", "xhigh", "max"])
WISH = st.one_of(
    st.none(),
    st.builds(ThinkingWish, st.just(True), EFFORT, st.none() | st.integers(1024, 4096)),
    st.builds(ThinkingWish, st.just(False), EFFORT),
    st.builds(ThinkingWish, st.none(), EFFORT.filter(bool)),
)
NUMBER = st.none() | st.floats(0, 1).map(lambda value: round(value, 3))
SAMPLING = st.builds(
    Sampling,
    temperature=NUMBER,
    top_p=NUMBER,
    top_k=st.none() | st.integers(0, 100),
    max_tokens=st.integers(1, 2**40),
    stop=st.lists(TEXT, max_size=2).map(tuple),
)


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    return ChatRequest(
        model=draw(NAME),
        messages=draw(conversations()),
        sampling=draw(SAMPLING),
        response_format=draw(st.none() | st.builds(ResponseFormat, st.just(FormatKind.JSON_SCHEMA), RAW)),
        thinking=draw(WISH),
        streams=draw(st.booleans()),
        user=draw(st.none() | TEXT),
        **draw(tool_fields()),  # type: ignore[arg-type]
    )
