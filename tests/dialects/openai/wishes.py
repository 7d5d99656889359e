"""Requests that OpenAI's dialect can express, drawn for round trips."""

import json

import msgspec
from hypothesis import strategies as st

from mrproxy.canonical.conversation import (
    Audio,
    ChatRequest,
    File,
    FormatKind,
    Image,
    Message,
    Part,
    Refusal,
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
BASE64 = st.sampled_from(["aGk=", "iVBORw0KGgo=", "AAAA"])
RAW = st.sampled_from([{"type": "object"}, {"type": "object", "properties": {"ä": {"type": "string"}}}]).map(
    lambda value: msgspec.Raw(msgspec.json.encode(value))
)
NUMBER = st.floats(0, 2).map(lambda value: round(value, 3))
IMAGE = st.builds(
    lambda typed, detail: Image(*typed, detail=detail),
    # The first bytes decide, where they say anything.
    st.sampled_from([("image/png", "iVBORw0KGgo="), ("image/png", "AAAA"), ("image/jpeg", "aGk=")]),
    st.sampled_from([None, "low"]),
) | st.builds(Image, url=st.just("https://example.org/a.png"))
SPOKEN = st.one_of(
    st.builds(Text, TEXT),
    IMAGE,
    st.builds(Audio, st.sampled_from(["wav", "mp3"]), BASE64),
    st.builds(File, name=NAME, media_type=st.just("application/pdf"), data=BASE64),
    st.builds(File, file_id=NAME),
)


@st.composite
def assistant_parts(draw: st.DrawFn, with_thinking: bool) -> tuple[Part, ...]:
    parts: list[Part] = []
    if with_thinking and draw(st.booleans()):
        parts.append(Thinking(draw(TEXT)))
    parts += [Text(text) for text in draw(st.lists(TEXT, max_size=2))]
    if not with_thinking and draw(st.booleans()):
        parts.append(Refusal(draw(TEXT)))
    for number in range(draw(st.integers(0, 2))):
        arguments = json.dumps({draw(NAME): draw(TEXT)}, ensure_ascii=False)
        parts.append(ToolCall(f"call_{number}", draw(NAME), arguments))
    return tuple(parts)


def results(with_names: bool) -> st.SearchStrategy[ToolResult]:
    parts = st.lists(st.builds(Text, TEXT), max_size=2).map(tuple)
    return st.builds(ToolResult, NAME, parts, name=NAME if with_names else st.just(""))


def messages(is_openai: bool) -> st.SearchStrategy[tuple[Message, ...]]:
    heard = SPOKEN if is_openai else SPOKEN.filter(lambda part: not isinstance(part, File))
    names = st.none() | NAME
    user = st.builds(Message, st.just(Role.USER), st.lists(heard, max_size=3).map(tuple), names)
    assistant = st.builds(Message, st.just(Role.ASSISTANT), assistant_parts(not is_openai), names)
    tool = results(not is_openai).map(lambda result: Message(Role.TOOL, (result,)))
    told = st.sampled_from([Role.SYSTEM, Role.DEVELOPER] if is_openai else [Role.SYSTEM])
    system = st.builds(Message, told, st.builds(Text, TEXT).map(lambda text: (text,)), names)
    turns = st.lists(st.one_of(user, assistant, tool), min_size=1, max_size=4)
    return st.tuples(st.lists(system, max_size=1), turns).map(lambda both: (*both[0], *both[1]))


@st.composite
def tools(draw: st.DrawFn, kind: str) -> tuple[tuple[Tool, ...], ToolChoice | None, bool | None]:
    names = draw(st.lists(NAME, max_size=2, unique=True))
    schema = st.none() | RAW if kind == "openai" else RAW
    made = tuple(Tool(name, draw(st.none() | TEXT), draw(schema), draw(st.none() | st.booleans())) for name in names)
    if not made:
        return (), None, None
    modes = [None, ToolMode.AUTO, ToolMode.NONE, ToolMode.REQUIRED]
    if kind != "llamacpp":
        modes.append(ToolMode.NAMED)
    mode = draw(st.sampled_from(modes))
    choice = ToolChoice(mode, names[0] if mode is ToolMode.NAMED else "") if mode is not None else None
    return made, choice, draw(st.none() | st.booleans())


def sampling(kind: str, *, is_chat: bool) -> st.SearchStrategy[Sampling]:
    own = {
        "openai": (),
        "vllm": ("top_k", "min_p", "repetition_penalty"),
        "llamacpp": ("top_k", "min_p", "typical_p", "repetition_penalty"),
    }[kind]
    numbers = ("temperature", "top_p", "presence_penalty", "frequency_penalty", *own)
    wishes = {name: st.none() | (st.integers(0, 9) if name == "top_k" else NUMBER) for name in numbers}
    counts = {name: st.none() | st.integers(1, 9) for name in ("max_tokens", "seed", "n")}
    logprobs = st.none() | st.booleans() if is_chat else st.none()
    bias = st.none() | st.just(msgspec.Raw(b'{"5":-100}'))
    stop = st.lists(TEXT, max_size=2).map(tuple)
    return st.builds(Sampling, **wishes, **counts, stop=stop, logit_bias=bias, logprobs=logprobs)


FORMAT = st.one_of(
    st.none(),
    st.just(ResponseFormat(FormatKind.TEXT)),
    st.just(ResponseFormat(FormatKind.JSON_OBJECT)),
    st.builds(ResponseFormat, st.just(FormatKind.JSON_SCHEMA), RAW, NAME, st.none() | st.booleans(), st.none() | TEXT),
)
EXTRAS = st.dictionaries(
    st.sampled_from(["guided_json", "chat_template_kwargs", "stop_token_ids", "service_tier", "verbosity"]), RAW
)
_EFFORTS = [ThinkingWish(effort=effort) for effort in ("minimal", "low", "high", "max")]
_SWITCHES = [ThinkingWish(enabled=True), ThinkingWish(enabled=False)]


@st.composite
def chats(draw: st.DrawFn, kind: str) -> ChatRequest:
    is_openai = kind == "openai"
    made, choice, parallel = draw(tools(kind))
    others = [ThinkingWish(enabled=False, effort="none")] if is_openai else _SWITCHES
    return ChatRequest(
        model="m",
        messages=draw(messages(is_openai)),
        tools=made,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        sampling=draw(sampling(kind, is_chat=True)),
        response_format=draw(FORMAT),
        thinking=draw(st.sampled_from([None, *_EFFORTS, *others])),
        streams=(streams := draw(st.booleans())),
        include_usage=streams,
        user=draw(st.none() | NAME),
        extras=draw(EXTRAS),
    )
