"""Pure. Requests of the Messages API: a caller's body → ChatRequest, ChatRequest → an engine's body.

Read next: `blocks.py` and `turns.py` for messages in and out, `tools.py` and `wishes.py` for the rest, both ways;
docs/dialects/anthropic.md for what becomes of every field.
Source: Anthropic API reference, "Create a Message", and the types of anthropic-sdk-python 2.11 (2026).
"""

from typing import Any

import msgspec

from mrproxy.canonical.conversation import ChatRequest, ResponseFormat
from mrproxy.dialects.anthropic.blocks import read_messages, read_system
from mrproxy.dialects.anthropic.fields import Members, Notes, NoThreads, invalid, missing
from mrproxy.dialects.anthropic.tools import read_choice, read_tools, write_tools
from mrproxy.dialects.anthropic.turns import write_messages, write_system
from mrproxy.dialects.anthropic.wishes import (
    read_format,
    read_sampling,
    read_thinking,
    write_format,
    write_sampling,
    write_thinking,
)
from mrproxy.dialects.codec import Encoded, Target
from mrproxy.errors import ClientError, Code

# Anthropic's own, with no meaning for the answer's content: said, and gone.
_IGNORED = {
    "context_management": "engines get the conversation as it is",
    "diagnostics": "there are none here",
    "inference_geo": "this gateway's operator decides where engines run",
    "service_tier": "this gateway's own priorities apply",
    "speed": "this gateway's own priorities apply",
    "user_profile_id": "callers are known by their keys",
    "workspace_id": "callers are known by their keys",
}
# Tools that only Anthropic's servers can run: without them the answer would be another.
_REFUSED = ("container", "mcp_servers")
_EMPTY = msgspec.Raw(b"[]")


def decode_chat(body: bytes) -> ChatRequest:
    """The body of POST /v1/messages. Raises ClientError."""
    return read_request(body, needs_bound=True)


def read_request(body: bytes, *, needs_bound: bool) -> ChatRequest:
    """Messages and count_tokens have the same fields, but for the bound of the answer. Raises ClientError."""
    try:
        str(body, "utf-8")  # what stays raw is not looked at again
    except UnicodeDecodeError as exc:
        raise ClientError(Code.INVALID_JSON, f"the body is not valid JSON: {exc}") from None
    notes = Notes()
    fields = Members(body)
    model = fields.required_text("model")
    if not model:
        raise missing("model")
    _pass_over(fields, notes)
    choice, parallel = read_choice(fields.members("tool_choice"), notes)
    output = fields.members("output_config")
    effort = output.text("effort") if output is not None else None
    wanted = _read_format(fields, output, notes)
    messages = read_messages(fields.required_objects("messages"), notes)
    return ChatRequest(
        model=model,
        messages=(*read_system(fields.raw("system"), notes), *messages),
        tools=read_tools(fields.objects("tools"), notes),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        sampling=read_sampling(fields, needs_bound=needs_bound),
        response_format=wanted,
        thinking=read_thinking(fields.members("thinking"), effort, notes),
        streams=bool(fields.flag("stream")),
        user=_read_user(fields.members("metadata"), notes),
        extras=fields.left(),
        warnings=notes.all(),
    )


def _pass_over(fields: Members, notes: Notes) -> None:
    """Raises ClientError."""
    if fields.raw("thread") is not None:
        raise NoThreads
    for name in _REFUSED:
        if fields.raw(name) not in (None, _EMPTY):
            raise invalid(name, "it exists in Anthropic's own service only")
    notes.cache_control(fields.raw("cache_control"))
    for name, reason in _IGNORED.items():
        if fields.raw(name) is not None:
            notes.ignored(name, reason)


def _read_format(fields: Members, output: Members | None, notes: Notes) -> ResponseFormat | None:
    older = read_format(fields.members("output_format"), notes)
    if output is None:
        return older
    newer = read_format(output.members("format"), notes)
    notes.left_of(output, "output_config")
    return newer or older


def _read_user(metadata: Members | None, notes: Notes) -> str | None:
    if metadata is None:
        return None
    user = metadata.text("user_id")
    notes.left_of(metadata, "metadata")
    return user


def encode_chat(request: ChatRequest, target: Target) -> Encoded:
    """The body for an engine of the Messages API.

    Raises ClientError for what cannot be said there without changing its meaning."""
    notes = Notes()
    output, instruction = write_format(request.response_format, notes)
    thinking, effort = write_thinking(request.thinking, notes)
    body: dict[str, Any] = {"model": target.model, **write_sampling(request, notes)}
    if (system := write_system(request.messages, instruction, notes)) is not None:
        body["system"] = system
    body["messages"] = write_messages(request.messages, notes)
    body |= write_tools(request)
    if thinking is not None:
        body["thinking"] = thinking
    config = {name: value for name, value in (("effort", effort), ("format", output)) if value is not None}
    if config:
        body["output_config"] = config
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    if request.streams:
        body["stream"] = True
    _note_foreign(request, notes)
    return Encoded(msgspec.json.encode(body), notes.all())


def _note_foreign(request: ChatRequest, notes: Notes) -> None:
    """What other dialects can ask for and this one cannot."""
    given = [
        *(["keep_alive"] if request.keep_alive is not None else []),
        *(["num_ctx"] if request.context_length is not None else []),
        *request.engine_options,
        *request.extras,
    ]
    for name in given:
        notes.ignored(name, "Anthropic's API has none")
