"""Pure. Chat completions asked: a caller's body → ChatRequest → an engine's body.

The parts are elsewhere: `messages.py` and `conversations.py`, `tools.py`, `sampling.py` (thinking too), `formats.py`.
What each field becomes: docs/dialects/openai.md.
Source: OpenAI API reference, "Create chat completion" (2026).
"""

import msgspec

from mrproxy.canonical.conversation import ChatRequest
from mrproxy.dialects.codec import Encoded, Target
from mrproxy.dialects.openai import messages, tools
from mrproxy.dialects.openai.conversations import write_messages
from mrproxy.dialects.openai.engines import engine_of
from mrproxy.dialects.openai.fields import decode, invalid, is_said, left_over, members, missing, pass_on
from mrproxy.dialects.openai.formats import Format, read_format, write_format
from mrproxy.dialects.openai.messages import AskedMessage, read_messages
from mrproxy.dialects.openai.sampling import (
    Sampled,
    read_sampling,
    read_thinking,
    write_engine_wishes,
    write_sampling,
    write_thinking,
)
from mrproxy.dialects.openai.tools import (
    Choice,
    CustomTool,
    FunctionTool,
    read_tools,
    write_tools,
)


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Chat(Sampled):
    model: str = ""
    messages: list[AskedMessage] | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[FunctionTool | CustomTool] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    reasoning_effort: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    modalities: list[str] | None = None
    functions: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()


_chat = msgspec.json.Decoder(_Chat)
_KNOWN = frozenset(_Chat.__struct_fields__)


def decode_chat(body: bytes) -> ChatRequest:
    """Raises ClientError with the field as its param."""
    asked = decode(_chat, body)
    _refuse_what_no_answer_could_hold(asked)
    if asked.messages is None:
        raise missing("messages")
    if not asked.model:
        raise missing("model")
    fields = members(body)
    extras = left_over(fields, _KNOWN)
    callable_tools, choice = read_tools(asked.tools, asked.tool_choice)
    options = asked.stream_options
    return ChatRequest(
        model=asked.model,
        messages=read_messages(asked.messages),
        tools=callable_tools,
        tool_choice=choice,
        parallel_tool_calls=asked.parallel_tool_calls,
        sampling=read_sampling(asked, asked.max_completion_tokens, asked.logprobs, asked.top_logprobs),
        response_format=read_format(asked.response_format),
        thinking=read_thinking(asked.reasoning_effort, extras),
        streams=asked.stream is True,
        include_usage=options is not None and options.include_usage is True,
        user=asked.user,
        extras=extras,
        warnings=_warnings(fields),
    )


def _refuse_what_no_answer_could_hold(asked: _Chat) -> None:
    for name, value in (("functions", asked.functions), ("function_call", asked.function_call)):
        if is_said(value):
            raise invalid(name, f"{name} is no longer answered; use tools and tool_choice")
    if asked.modalities is not None and set(asked.modalities) - {"text"}:
        raise invalid("modalities", "answers are text here")


def _warnings(fields: dict[str, msgspec.Raw]) -> tuple[str, ...]:
    """What stands where nobody reads it. All of it was decoded before."""
    warnings = messages.warnings_of(fields["messages"])
    if is_said(fields.get("tools", msgspec.Raw())):
        warnings += tools.warnings_of(fields["tools"])
    return (*warnings, *stream_warnings(fields))


def stream_warnings(fields: dict[str, msgspec.Raw]) -> list[str]:
    """Of stream options but usage; `include_obfuscation` false is what is done anyway."""
    given = fields.get("stream_options", msgspec.Raw())
    names = left_over(members(given), frozenset({"include_usage"})) if is_said(given) else {}
    return [
        f"stream_options.{name} is ignored"
        for name, value in names.items()
        if not (name == "include_obfuscation" and bytes(value) == b"false")
    ]


def encode_chat(request: ChatRequest, target: Target) -> Encoded:
    """Raises ClientError for what cannot be said to this engine without changing its meaning."""
    engine = engine_of(target.kind)
    warnings: list[str] = []
    extras = dict(request.extras)
    body: dict[str, object] = {
        "model": target.model,
        "messages": write_messages(request.messages, engine, warnings),
    }
    write_tools(request.tools, request.tool_choice, request.parallel_tool_calls, engine, body)
    sampling = request.sampling
    write_sampling(sampling, engine, engine.chat_bound, body, warnings)
    if sampling.logprobs is not None:
        body["logprobs"] = sampling.logprobs
    if sampling.top_logprobs is not None:
        body["top_logprobs"] = sampling.top_logprobs
    if request.response_format is not None:
        body["response_format"] = write_format(request.response_format)
    if request.thinking is not None:
        write_thinking(request.thinking, engine, extras, body, warnings)
    if request.streams:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}  # the caller's own wish is the answer encoder's business
    if request.user is not None:
        body["user"] = request.user
    write_engine_wishes(request.context_length, request.keep_alive, request.engine_options, engine, body, warnings)
    pass_on(extras, body, engine.label, warnings)
    return Encoded(msgspec.json.encode(body), tuple(warnings))
