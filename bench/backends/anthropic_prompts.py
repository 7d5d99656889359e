"""Pure. Anthropic's Messages requests, read as the API itself reads them: what it refuses is refused here.

Source: platform.claude.com/docs/en/api/messages, .../extended-thinking, .../tool-use, .../api/versioning (read
2026-11); anthropic-sdk-python types/message_create_params.py 2.11. vLLM and Ollama, which serve these routes too, look
at no version and refuse much less: `version` is empty for them.
"""

import re
import zlib
from typing import Any

import msgspec

from bench.backends.openai_json import count_prompt_tokens
from bench.backends.prompts import URL_BYTES, Conversation, Prompt, Refusal, image_size, refuses_malformed

Json = Any
# The second since 2026-10-21: no sampling parameters, no documents from the assistant, no citations from the user.
VERSIONS = ("2023-06-01", "2026-10-21")
MIN_BUDGET = 1024
IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_SAMPLING = frozenset(("temperature", "top_p", "top_k"))
_KNOWN_FIELDS = frozenset(
    [
        "model",
        "messages",
        "max_tokens",
        "system",
        "metadata",
        "stop_sequences",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "service_tier",
        "container",
        "context_management",
        "mcp_servers",
        "output_config",
        "output_format",
        "inference_geo",
        "cache_control",
        "speed",
    ]
)


class MessagesRequest(msgspec.Struct):
    model: str
    messages: list[Any]
    max_tokens: int | None = None
    stream: bool | None = False
    system: Any = None
    temperature: float | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None

    @property
    def is_thinking(self) -> bool:
        return (self.thinking or {}).get("type") in ("enabled", "adaptive")


class _Sized(msgspec.Struct):
    messages: msgspec.Raw
    system: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()


_decode_sizes = msgspec.json.Decoder(_Sized).decode


def count_input(body: bytes) -> int:
    """Tokens of what the model reads: the same for count_tokens as for the message itself."""
    sizes = _decode_sizes(body)
    return count_prompt_tokens(sum(len(memoryview(part)) for part in (sizes.messages, sizes.system, sizes.tools)))


def sign(thinking: str) -> str:
    """The signature of a thinking block, so that one that comes back changed is noticed."""
    return f"EsMock{zlib.crc32(thinking.encode()):08x}=="


@refuses_malformed
def read_prompt(wanted: MessagesRequest, body: bytes, version: str) -> Prompt:
    """`version` is the API's; empty for an engine that has the route without its checks."""
    is_strict = bool(version)
    if is_strict:
        _check_fields(wanted, body, _KNOWN_FIELDS - _SAMPLING if version != VERSIONS[0] else _KNOWN_FIELDS)
        _check_turns(wanted.messages)
        if version != VERSIONS[0]:
            _check_blocks(wanted.messages)
    heard = Conversation()
    heard.hear(_read_system(wanted.system))
    for number, message in enumerate(wanted.messages):
        _hear(heard, message, number, is_strict)
    tools = _read_tools(wanted.tools or [], is_strict)
    forced, may_call = _read_choice(wanted.tool_choice or {}, tools)
    config = wanted.output_config or {}
    return Prompt(
        heard,
        tools=tools,
        forced=forced,
        may_call=may_call,
        is_parallel=not (wanted.tool_choice or {}).get("disable_parallel_tool_use", False),
        effort=_read_effort(wanted, config),
        schema=(config.get("format") or {}).get("schema"),
        stops=tuple(wanted.stop_sequences or ()),
        limit=wanted.max_tokens,
    )


def _check_fields(wanted: MessagesRequest, body: bytes, known: frozenset[str]) -> None:
    for name in msgspec.json.decode(body, type=dict[str, msgspec.Raw]):
        if name not in known:
            raise Refusal(f"{name}: Extra inputs are not permitted")
    if wanted.max_tokens is None:
        raise Refusal("max_tokens: Field required")
    if wanted.max_tokens < 1:
        raise Refusal("max_tokens: Input should be greater than or equal to 1")
    if wanted.temperature is not None and not 0 <= wanted.temperature <= 1:
        raise Refusal("temperature: range: 0..1")
    if any(not stop.strip() for stop in wanted.stop_sequences or ()):
        raise Refusal("stop_sequences: each stop sequence must contain non-whitespace")
    if wanted.tool_choice and not wanted.tools:
        raise Refusal("tool_choice: may only be specified while providing tools")
    if wanted.is_thinking:
        _check_thinking(wanted, wanted.max_tokens)


def _check_thinking(wanted: MessagesRequest, max_tokens: int) -> None:
    assert wanted.thinking is not None
    if wanted.thinking["type"] == "enabled":
        budget = wanted.thinking.get("budget_tokens")
        if not isinstance(budget, int) or budget < MIN_BUDGET:
            raise Refusal("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= max_tokens:
            raise Refusal("`max_tokens` must be greater than `thinking.budget_tokens`")
    if wanted.temperature not in (None, 1):
        raise Refusal("`temperature` may only be set to 1 when thinking is enabled")
    if (wanted.tool_choice or {}).get("type") in ("any", "tool"):
        raise Refusal("Thinking may not be enabled when tool_choice forces tool use.")


def _check_turns(messages: list[Json]) -> None:
    """Roles, contents that say something, and every tool_use answered by the message after it."""
    if not messages:
        raise Refusal("messages: at least one message is required")
    asked: list[str] = []
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role not in ("user", "assistant"):
            raise Refusal(
                f'messages: Unexpected role "{role}". The Messages API accepts a top-level `system` parameter'
            )
        if not number and role != "user":
            raise Refusal("messages: first message must use the user role")
        is_last = number == len(messages) - 1
        if not content and not (is_last and role == "assistant"):
            raise Refusal(f"messages.{number}: all messages must have non-empty content")
        blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
        answered = [block.get("tool_use_id") for block in blocks if block.get("type") == "tool_result"]
        if missing := [name for name in asked if name not in answered]:
            raise Refusal(
                f"messages.{number - 1}: `tool_use` ids were found without `tool_result` blocks: {missing[0]}"
            )
        if unexpected := [name for name in answered if name not in asked]:
            raise Refusal(f"messages.{number}: unexpected `tool_use_id` found in `tool_result` blocks: {unexpected[0]}")
        asked = [str(block.get("id")) for block in blocks if block.get("type") == "tool_use"]
        if is_last and role == "assistant" and _says(content).endswith((" ", "\n")):
            raise Refusal("messages: final assistant content cannot end with trailing whitespace")


def _check_blocks(messages: list[Json]) -> None:
    """What 2026-10-21 no longer takes directly in a message."""
    for number, message in enumerate(messages):
        blocks = message["content"] if isinstance(message["content"], list) else ()
        for at, block in enumerate(blocks):
            if message["role"] == "assistant" and block.get("type") == "document":
                raise Refusal(
                    f"messages.{number}.content.{at}: `document` blocks are not permitted in assistant messages"
                )
            if message["role"] == "user" and block.get("type") == "text" and block.get("citations"):
                raise Refusal(f"messages.{number}.content.{at}.text.citations: not permitted in user messages")


def _says(content: Json) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content or () if isinstance(block, dict))


def _read_system(system: Json) -> str:
    return _says(system) if system else ""


def _hear(heard: Conversation, message: Json, number: int, is_strict: bool) -> None:
    content = message.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    results, texts = [], []
    for at, block in enumerate(blocks):
        where = f"messages.{number}.content.{at}"
        if block.get("type") == "tool_result":
            results.append(_read_result(heard, block, where, is_strict))
        else:
            texts.append(_read_block(heard, block, where, is_strict))
    text = "".join(texts)
    if message.get("role") == "assistant":
        heard.hear(text)
    elif text or not results:
        heard.hear_user(text)
    # After the words of the same message: they are what the user says about the results.
    for result in results:
        heard.hear_result(result)


def _read_result(heard: Conversation, block: Json, where: str, is_strict: bool) -> str:
    content = block.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(_read_block(heard, part, where, is_strict) for part in content)


def _read_block(heard: Conversation, block: Json, where: str, is_strict: bool) -> str:
    kind = block.get("type")
    if kind == "text":
        if is_strict and not block.get("text"):
            raise Refusal("messages: text content blocks must be non-empty")
        return str(block.get("text", ""))
    if kind == "image":
        heard.images.append(_read_image(block.get("source") or {}, where))
    elif kind == "thinking" and is_strict:
        if block.get("signature") != sign(block.get("thinking", "")):
            raise Refusal(f"{where}: Invalid `signature` in `thinking` block")
    elif kind == "tool_use" and is_strict:
        if not isinstance(block.get("input"), dict) or not block.get("id") or not block.get("name"):
            raise Refusal(f"{where}.tool_use: id, name and input are required, and input should be an object")
    elif kind not in ("thinking", "redacted_thinking", "tool_use", "document", "search_result"):
        raise Refusal(f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags")
    return ""


def _read_image(source: Json, where: str) -> int:
    if source.get("type") == "url":
        return URL_BYTES
    if source.get("type") != "base64":
        raise Refusal(f"{where}.image.source: Input tag '{source.get('type')}' does not match any of the expected tags")
    if source.get("media_type") not in IMAGE_TYPES:
        raise Refusal(f"{where}.image.source.base64.media_type: Input should be one of {', '.join(IMAGE_TYPES)}")
    return image_size(str(source.get("data", "")), f"{where}.image.source.base64.data: invalid base64 data")


def _read_tools(tools: list[dict[str, Json]], is_strict: bool) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for number, tool in enumerate(tools):
        name, schema = tool.get("name"), tool.get("input_schema")
        if tool.get("type", "custom") != "custom":
            continue  # a server tool: nothing for the client to run
        if not isinstance(name, str) or (is_strict and not _TOOL_NAME.fullmatch(name)):
            raise Refusal(f"tools.{number}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if is_strict and (not isinstance(schema, dict) or schema.get("type") != "object"):
            raise Refusal(f"tools.{number}.custom.input_schema.type: Field required")
        if is_strict and name in found:
            raise Refusal("tools: Tool names must be unique.")
        found[name] = schema
    return found


def _read_choice(choice: dict[str, Json], tools: dict[str, Json]) -> tuple[str | None, bool]:
    """(the tool that must be called, whether any may)."""
    match choice.get("type", "auto"):
        case "any" if tools:
            return "", True
        case "tool":
            if choice.get("name") not in tools:
                raise Refusal(f"Tool '{choice.get('name')}' not found in provided tools")
            return str(choice["name"]), True
        case "none":
            return None, False
    return None, True


def _read_effort(wanted: MessagesRequest, config: dict[str, Json]) -> str:
    if not wanted.is_thinking:
        return ""
    assert wanted.thinking is not None
    if wanted.thinking["type"] == "enabled":
        return f"budget {wanted.thinking.get('budget_tokens')}"
    return str(config.get("effort") or "adaptive")
