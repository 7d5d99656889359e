"""Pure. OpenAI's chat and completion requests as the engines read them: vLLM, and Ollama's compatible endpoints.

Source: vllm-project/vllm chat_utils.py and chat_completion/protocol.py; ollama/ollama openai/openai.go, both main,
read 2026-11. Refused is what they refuse. Ollama knows no `tool_choice` and takes images only as data URLs.
"""

from typing import Any

import msgspec

from bench.backends.openai_json import ChatRequest, CompletionRequest
from bench.backends.prompts import URL_BYTES, Conversation, Prompt, Refusal, image_url_size, refuses_malformed

Json = Any
OLLAMA_EFFORTS = ("high", "medium", "low", "max", "none")


@refuses_malformed
def read_chat(wanted: ChatRequest, is_ollama: bool = False) -> Prompt:
    """Raises Refusal for what the engine answers with 400."""
    heard = Conversation()
    for raw in wanted.messages:
        _hear(heard, msgspec.json.decode(raw), is_ollama)
    tools = read_tools(wanted.tools)
    forced, may_call = (None, True) if is_ollama else _read_choice(wanted.tool_choice, tools)
    return Prompt(
        heard,
        tools=tools,
        forced=forced,
        may_call=may_call,
        effort=_read_effort(wanted, is_ollama),
        schema=_read_schema(wanted.response_format, wanted.structured_outputs, wanted.guided_json),
        stops=read_stops(wanted.stop),
        limit=wanted.token_limit,
        choices=1 if is_ollama else read_choices(wanted.n),
        logprobs=None if is_ollama or not wanted.logprobs else int(wanted.top_logprobs or 0),
        is_parallel=wanted.parallel_tool_calls is not False,
    )


@refuses_malformed
def read_completion(wanted: CompletionRequest) -> list[Prompt]:
    """One per prompt: a text, several texts, token ids, or several lists of them."""
    given = msgspec.json.decode(wanted.prompt)
    many = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    prompts = []
    for one in many:
        if not isinstance(one, str | list):
            raise Refusal("prompt must be a string, an array of strings, or arrays of token ids", "prompt")
        heard = Conversation()
        heard.hear_user(one if isinstance(one, str) else f"{len(one)} token ids")
        prompts.append(
            Prompt(
                heard,
                schema=_read_schema(wanted.response_format, None, None),
                stops=read_stops(wanted.stop),
                limit=wanted.max_tokens,
                choices=read_choices(wanted.n),
                logprobs=None if wanted.logprobs is None else int(wanted.logprobs),
            )
        )
    return prompts


def read_tools(tools: Json) -> dict[str, Json]:
    found = {}
    for tool in tools or ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Refusal("each of `tools` must be a function with a name", "tools")
        found[function["name"]] = function.get("parameters")
    return found


def read_stops(stop: Json) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if not all(isinstance(one, str) for one in stops):
        raise Refusal("stop must be a string or an array of strings", "stop")
    return tuple(stops)


def read_choices(n: Json) -> int:
    if n is not None and (not isinstance(n, int) or n < 1):
        raise Refusal(f"n must be at least 1, got {n}.", "n")
    return n or 1


def _read_choice(choice: Json, tools: dict[str, Json]) -> tuple[str | None, bool]:
    """(the tool that must be called, whether any may)."""
    if choice is None or choice == "auto":
        return None, True
    if choice == "none":
        return None, False
    if not tools:
        raise Refusal("When using `tool_choice`, `tools` must be set.", "tool_choice")
    if choice == "required":
        return "", True
    name = (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
    if not isinstance(name, str):
        raise Refusal("tool_choice must be 'none', 'auto', 'required' or a named tool", "tool_choice")
    if name not in tools:
        raise Refusal("The tool specified in `tool_choice` does not match any of the specified `tools`", "tool_choice")
    return name, True


def _read_effort(wanted: ChatRequest, is_ollama: bool) -> str:
    effort = wanted.reasoning_effort
    if is_ollama:
        effort = (wanted.reasoning or {}).get("effort") or effort
        if effort and effort not in OLLAMA_EFFORTS:
            raise Refusal(f'invalid reasoning value: \'{effort}\' (must be "high", "medium", "low", or "none")')
        return "" if effort in (None, "none") else str(effort)
    switched = wanted.chat_template_kwargs or {}
    is_on = switched.get("enable_thinking", switched.get("thinking"))
    if is_on is False or effort == "none":
        return ""
    return str(effort or ("on" if is_on else ""))


def _read_schema(response_format: Json, structured_outputs: Json, guided_json: Json) -> Json:
    if guided_json is not None:
        return msgspec.json.decode(guided_json) if isinstance(guided_json, str) else guided_json
    if structured_outputs:
        return structured_outputs.get("json", True if structured_outputs.get("json_object") else None)
    kind = (response_format or {}).get("type", "text")
    if kind == "text":
        return None
    if kind == "json_object":
        return True
    schema = (response_format.get("json_schema") or {}).get("schema")
    if kind != "json_schema" or not isinstance(schema, dict):
        raise Refusal("response_format must be text, json_object, or json_schema with a schema", "response_format")
    return schema


def _hear(heard: Conversation, message: Json, is_ollama: bool) -> None:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ("system", "developer", "user", "assistant", "tool"):
        raise Refusal(f"unknown role {role!r}", "messages")
    calls = message.get("tool_calls") or ()
    for call in calls:
        _check_arguments(call, is_ollama)
    text = _read_content(heard, message.get("content"), bool(calls) or role == "assistant", is_ollama)
    if role == "user":
        heard.hear_user(text)
    elif role == "tool":
        heard.hear_result(text)
    else:
        heard.hear(text)


def _check_arguments(call: Json, is_ollama: bool) -> None:
    """Both engines parse the arguments of past calls, for their templates."""
    try:
        text = call["function"]["arguments"]
        is_object = isinstance(text, str) and isinstance(msgspec.json.decode(text or "{}"), dict)
        is_object = is_object and isinstance(call["function"]["name"], str)
    except (msgspec.DecodeError, KeyError, TypeError):
        is_object = False
    if not is_object:
        wording = "invalid tool call arguments" if is_ollama else "tool_calls: arguments must be a JSON object, as text"
        raise Refusal(wording, "messages")


def _read_content(heard: Conversation, content: Json, may_be_none: bool, is_ollama: bool) -> str:
    if isinstance(content, str):
        return content
    if content is None and may_be_none:
        return ""
    if not isinstance(content, list):
        raise Refusal("invalid message content type: <nil>" if is_ollama else "content: Input should be a valid string")
    return "".join(_read_part(heard, part, is_ollama) for part in content)


def _read_part(heard: Conversation, part: Json, is_ollama: bool) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal") and isinstance(part.get(kind), str):
        return str(part[kind])
    if kind != "image_url":
        raise Refusal("invalid message format" if is_ollama else f"Unknown part type: {kind}", "messages")
    url = part.get("image_url")
    url = url.get("url") if isinstance(url, dict) else url
    if not isinstance(url, str):
        raise Refusal("invalid message format" if is_ollama else "image_url: Field required", "messages")
    size = image_url_size(url, "invalid image input" if is_ollama else "cannot identify image file")
    if size == URL_BYTES and is_ollama:
        raise Refusal("image URLs are not currently supported, please use base64 encoded data instead")
    heard.images.append(size)
    return ""
