"""Pure. `POST /v1/responses`, decoded: a canonical chat, and what the answer has to repeat or the store to keep.

A request that continues an earlier one (`previous_response_id`) or a conversation is a whole chat only after `extend`.
Source: OpenAI API reference, "Create a model response" (2026); the SDK's `response_create_params`; the fields that vLLM
adds (its `ResponsesRequest`, 2026) that have a canonical name get it, the rest are extras.
Read next: `items.py` and `tools.py` for what is in it, docs/dialects/responses.md for every field.
"""

from collections.abc import Callable

import msgspec

from mrproxy.canonical.conversation import (
    ChatRequest,
    Message,
    Role,
    Sampling,
    Text,
    ThinkingWish,
    ToolCall,
    ToolResult,
)
from mrproxy.dialects.responses.documents import (
    AUTO,
    NO_REASONING,
    NO_TOOLS,
    PLAIN_TEXT,
    ConversationReference,
    Echo,
)
from mrproxy.dialects.responses.items import FindItem, decode_input
from mrproxy.dialects.responses.reading import (
    ABSENT,
    Warnings,
    invalid,
    is_given,
    missing,
    read,
    read_fields,
    read_text_or,
    require_utf8,
)
from mrproxy.dialects.responses.tools import decode_text_config, decode_tool_choice, decode_tools
from mrproxy.errors import ClientError, Code


class _Reasoning(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class _StreamOptions(msgspec.Struct):
    include_obfuscation: bool | None = None


class _Body(msgspec.Struct, kw_only=True):
    model: str
    input: msgspec.Raw = ABSENT
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    background: bool | None = None
    conversation: msgspec.Raw = ABSENT
    prompt: msgspec.Raw = ABSENT
    moderation: msgspec.Raw = ABSENT
    include: list[str] | None = None
    tools: msgspec.Raw = ABSENT
    tool_choice: msgspec.Raw = ABSENT
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = None
    text: msgspec.Raw = ABSENT
    reasoning: msgspec.Raw = ABSENT
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    truncation: str | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    context_management: msgspec.Raw = ABSENT
    prompt_cache_options: msgspec.Raw = ABSENT
    prompt_cache_retention: str | None = None
    access_programs: msgspec.Raw = ABSENT
    image: msgspec.Raw = ABSENT
    # vLLM's
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: msgspec.Raw = ABSENT
    logit_bias: msgspec.Raw = ABSENT


class ResponsesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`chat` lacks what was said before if there is a `previous_response_id` or a `conversation_id`. `input_items` are
    as they were sent, references resolved; their bytes are views of the body."""

    chat: ChatRequest
    store: bool
    previous_response_id: str | None
    conversation_id: str | None = None
    input_items: tuple[msgspec.Raw, ...]
    instructions: str | None
    echo: Echo
    gives_encrypted_reasoning: bool = False

    @property
    def input_messages(self) -> tuple[Message, ...]:
        """What the caller said now, without the instructions: these do not outlive the request."""
        return self.chat.messages if self.instructions is None else self.chat.messages[1:]


_LOGPROBS = "message.output_text.logprobs"
_ENCRYPTED = "reasoning.encrypted_content"
# The others concern hosted tools, which are refused, or are always included.
_INCLUDABLE = frozenset(
    (
        _LOGPROBS,
        _ENCRYPTED,
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "message.input_image.image_url",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
    )
)
# What chat completions call otherwise, or what would make an answer that Responses has no words for: an engine that
# was given these would take them.
_MOVED = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "logprobs": "include",
    "functions": "tools",
    "function_call": "tool_choice",
    **dict.fromkeys(("n", "audio", "modalities", "prediction", "web_search_options"), ""),
}
# Chat completions know these by the same name.
_SHARED = ("service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier")
_FIELDS = frozenset(_Body.__struct_fields__)

_body = msgspec.json.Decoder(_Body)
_reasoning = msgspec.json.Decoder(_Reasoning)
_stops = msgspec.json.Decoder(list[str])
_reference = msgspec.json.Decoder(ConversationReference)


def find_nothing(item_id: str) -> None:
    """For a server without a store."""


def decode_request(body: bytes, find_item: FindItem = find_nothing) -> ResponsesRequest:
    """`find_item`: a stored item of this caller's by its id, for `item_reference`. Raises ClientError."""
    require_utf8(body)
    asked = read(_body, body, "")
    if not asked.model:
        raise missing("model")
    fields = read_fields(body, "")
    _refuse_chat_fields(fields)
    _refuse_what_needs_openai(asked)
    warnings = Warnings()
    said, items = _input(asked, find_item, warnings)
    conversation_id = read_conversation(asked.conversation)
    if conversation_id is not None and asked.previous_response_id is not None:
        message = "Mutually exclusive parameters: 'conversation' and 'previous_response_id'."
        raise ClientError(Code.INVALID_FIELD, message, param="conversation")
    instructions = asked.instructions or None
    told = (Message(Role.SYSTEM, (Text(instructions),)),) if instructions is not None else ()
    return ResponsesRequest(
        chat=_chat(asked, told + said, fields, warnings),
        store=asked.store is not False,
        previous_response_id=asked.previous_response_id,
        conversation_id=conversation_id,
        input_items=items,
        instructions=instructions,
        echo=_echo(asked),
        gives_encrypted_reasoning=_ENCRYPTED in (asked.include or ()),
    )


def read_conversation(given: msgspec.Raw) -> str | None:
    """The id in `conversation`, a string or an object; None if it is not given. Raises ClientError."""
    if not is_given(given):
        return None
    found = read_text_or(_reference, given, "conversation")
    return found if isinstance(found, str) else found.id


def extend(request: ResponsesRequest, earlier: tuple[Message, ...]) -> ChatRequest:
    """The whole chat: instructions, the earlier conversation, and what is said now.

    Earlier instructions are not part of `earlier`: "the instructions from a previous response will not be carried over"
    (OpenAI API reference, `instructions`, 2026). Results of functions called then get the function's name.
    """
    told = request.chat.messages[: len(request.chat.messages) - len(request.input_messages)]
    names = {call.id: call.name for message in earlier for call in message.parts if isinstance(call, ToolCall)}
    said = tuple(_name_result(message, names) for message in request.input_messages)
    return msgspec.structs.replace(request.chat, messages=told + earlier + said)


def previous_not_found(response_id: str) -> ClientError:
    """It never was, is gone, or is somebody else's."""
    message = f"Previous response with id '{response_id}' not found."
    return ClientError(Code.INVALID_FIELD, message, param="previous_response_id")


def _name_result(message: Message, names: dict[str, str]) -> Message:
    if message.role is not Role.TOOL:
        return message
    (result,) = message.parts
    assert isinstance(result, ToolResult)
    if result.name or result.call_id not in names:
        return message
    return Message(Role.TOOL, (msgspec.structs.replace(result, name=names[result.call_id]),))


def _refuse_chat_fields(fields: dict[str, msgspec.Raw]) -> None:
    for name in fields.keys() & _MOVED.keys():
        if is_given(fields[name]):
            advice = f"; in Responses it is '{_MOVED[name]}'" if _MOVED[name] else ""
            raise ClientError(Code.INVALID_FIELD, f"unsupported parameter: '{name}'{advice}", param=name)


def _refuse_what_needs_openai(asked: _Body) -> None:
    if asked.background:
        raise _unsupported("background", "answers are not made in the background here")
    if is_given(asked.prompt):
        raise _unsupported("prompt", "no prompt templates are stored here")
    if is_given(asked.moderation):
        raise _unsupported("moderation", "nothing is moderated here")


def _unsupported(name: str, why: str) -> ClientError:
    return ClientError(Code.INVALID_FIELD, f"'{name}' is not supported: {why}", param=name)


def _input(
    asked: _Body, find_item: FindItem, warnings: Warnings
) -> tuple[tuple[Message, ...], tuple[msgspec.Raw, ...]]:
    continues = asked.previous_response_id is not None or is_given(asked.conversation)
    if is_given(asked.input):
        messages, items = decode_input(asked.input, find_item, warnings)
        if messages or continues:
            return messages, items
        raise invalid("input", "nothing is said")
    if not continues:
        raise missing("input")
    return (), ()


def _chat(
    asked: _Body, messages: tuple[Message, ...], fields: dict[str, msgspec.Raw], warnings: Warnings
) -> ChatRequest:
    tools = decode_tools(asked.tools, warnings)
    choice, tools = decode_tool_choice(asked.tool_choice, tools)
    text_format = decode_text_config(asked.text, warnings)
    thinking = _thinking(asked.reasoning, warnings)
    sampling = _sampling(asked, warnings)
    _warn(asked, warnings)
    extras = {name: raw for name, raw in fields.items() if name not in _FIELDS and is_given(raw)}
    extras.update((name, fields[name]) for name in _SHARED if name in fields and is_given(fields[name]))
    return ChatRequest(
        model=asked.model,
        messages=messages,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=asked.parallel_tool_calls,
        sampling=sampling,
        response_format=text_format,
        thinking=thinking,
        streams=asked.stream is True,
        user=asked.user,
        extras=extras,
        warnings=warnings.said(),
    )


def _sampling(asked: _Body, warnings: Warnings) -> Sampling:
    include = asked.include or []
    for name in include:
        if name not in _INCLUDABLE:
            raise invalid("include", f"'{name}' is not supported")
    wants_logprobs = _LOGPROBS in include
    if asked.top_logprobs and not wants_logprobs:
        warnings.ignore("top_logprobs", f"include does not ask for {_LOGPROBS}")
    if asked.max_output_tokens is not None and asked.max_output_tokens < 1:
        raise invalid("max_output_tokens", "less than 1")
    return Sampling(
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        min_p=asked.min_p,
        max_tokens=asked.max_output_tokens,
        stop=_stop(asked.stop),
        seed=asked.seed,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        repetition_penalty=asked.repetition_penalty,
        logit_bias=_object_or_none(asked.logit_bias, "logit_bias"),
        logprobs=True if wants_logprobs else None,
        top_logprobs=asked.top_logprobs if wants_logprobs else None,
    )


def _stop(given: msgspec.Raw) -> tuple[str, ...]:
    if not is_given(given):
        return ()
    stop = read_text_or(_stops, given, "stop")
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _object_or_none(given: msgspec.Raw, place: str) -> msgspec.Raw | None:
    if not is_given(given):
        return None
    read_fields(given, place)
    return given


def _thinking(given: msgspec.Raw, warnings: Warnings) -> ThinkingWish | None:
    if not is_given(given):
        return None
    reasoning = read(_reasoning, given, "reasoning")
    if reasoning.summary is not None or reasoning.generate_summary is not None:
        warnings.ignore("reasoning.summary", "the reasoning itself is in the answer")
    for name, value in read_fields(given, "reasoning").items():
        if name not in _Reasoning.__struct_fields__ and is_given(value):
            warnings.ignore(f"reasoning.{name}", "no engine knows it")
    if reasoning.effort is None:
        return None
    return ThinkingWish(enabled=False if reasoning.effort == "none" else None, effort=reasoning.effort)


# Wishes about economy, or for what only OpenAI has: name, whether it was made, why it is not granted.
_IGNORED: tuple[tuple[str, Callable[[_Body], bool], str], ...] = (
    ("truncation", lambda asked: asked.truncation == "auto", "a conversation is sent whole or not at all"),
    ("context_management", lambda asked: is_given(asked.context_management), "conversations are not compacted here"),
    ("prompt_cache_options", lambda asked: is_given(asked.prompt_cache_options), "engines cache by themselves"),
    ("access_programs", lambda asked: is_given(asked.access_programs), "they are OpenAI's"),
    ("image", lambda asked: is_given(asked.image), "images are sent as they are"),
    (
        "stream_options.include_obfuscation",
        lambda asked: asked.stream_options is not None and asked.stream_options.include_obfuscation is True,
        "events are not padded",
    ),
)


def _warn(asked: _Body, warnings: Warnings) -> None:
    if asked.truncation not in (None, "auto", "disabled"):
        raise invalid("truncation", f"'{asked.truncation}' is none of auto, disabled")
    for name, is_asked, why in _IGNORED:
        if is_asked(asked):
            warnings.ignore(name, why)


def _echo(asked: _Body) -> Echo:
    return Echo(
        instructions=asked.instructions,
        max_output_tokens=asked.max_output_tokens,
        max_tool_calls=asked.max_tool_calls,
        metadata=asked.metadata or {},
        parallel_tool_calls=asked.parallel_tool_calls is not False,
        previous_response_id=asked.previous_response_id,
        prompt_cache_key=asked.prompt_cache_key,
        safety_identifier=asked.safety_identifier,
        store=asked.store is not False,
        temperature=asked.temperature,
        top_logprobs=asked.top_logprobs or 0,
        top_p=asked.top_p,
        user=asked.user,
        reasoning=_copy_or(asked.reasoning, NO_REASONING),
        text=_copy_or(asked.text, PLAIN_TEXT),
        tool_choice=_copy_or(asked.tool_choice, AUTO),
        tools=_copy_or(asked.tools, NO_TOOLS),
    )


def _copy_or(given: msgspec.Raw, default: msgspec.Raw) -> msgspec.Raw:
    """Copied: an answer that is stored must not keep the whole body alive."""
    return given.copy() if is_given(given) else default
