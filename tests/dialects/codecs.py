"""Every dialect's codecs in one table, for tests that hold for all of them; and an answer as who reads it hears it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mrproxy.canonical.deltas import (
    Delta,
    Failure,
    Finish,
    Report,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.anthropic import answers as anthropic
from mrproxy.dialects.codec import AnswerContext, AnswerDecoder, AnswerEncoder
from mrproxy.dialects.ollama import answers as ollama
from mrproxy.dialects.ollama import generate
from mrproxy.dialects.openai import answers as openai
from mrproxy.dialects.openai import completions
from mrproxy.dialects.responses.answers import ResponsesDocumentEncoder, ResponsesStreamEncoder
from mrproxy.dialects.responses.requests import decode_request

REQUEST_ID = "0123-4567"
CONTEXT = AnswerContext(REQUEST_ID, "public", 1_790_000_000.5)
RESPONSE = decode_request(b'{"model":"public","input":"hi"}')


class Codec(msgspec.Struct, frozen=True):
    """One shape of a dialect's answers. `decoder` is None where no engine is asked in it."""

    decoder: Callable[[str], AnswerDecoder] | None
    encoder: Callable[[AnswerContext], AnswerEncoder]
    is_document: bool = False


CODECS: dict[str, Codec] = {
    "openai chat stream": Codec(openai.ChatStreamDecoder, openai.ChatStreamEncoder),
    "openai chat document": Codec(openai.ChatDocumentDecoder, openai.ChatDocumentEncoder, is_document=True),
    "openai text stream": Codec(completions.TextStreamDecoder, completions.TextStreamEncoder),
    "openai text document": Codec(completions.TextDocumentDecoder, completions.TextDocumentEncoder, is_document=True),
    "ollama chat stream": Codec(ollama.ChatStreamDecoder, ollama.ChatStreamEncoder),
    "ollama chat document": Codec(ollama.ChatDocumentDecoder, ollama.ChatDocumentEncoder, is_document=True),
    "ollama text stream": Codec(generate.TextStreamDecoder, generate.TextStreamEncoder),
    "ollama text document": Codec(generate.TextDocumentDecoder, generate.TextDocumentEncoder, is_document=True),
    "anthropic chat stream": Codec(anthropic.ChatStreamDecoder, anthropic.ChatStreamEncoder),
    "anthropic chat document": Codec(anthropic.ChatDocumentDecoder, anthropic.ChatDocumentEncoder, is_document=True),
    "responses chat stream": Codec(None, lambda context: ResponsesStreamEncoder(context, RESPONSE)),
    "responses chat document": Codec(None, lambda context: ResponsesDocumentEncoder(context, RESPONSE), True),
}
# An engine's own error inside a stream, by the dialect it is asked in.
BROKEN_OFF = {
    "openai": b'data: {"error":{"message":"boom","type":"server_error","code":500}}\n\n',
    "ollama": b'{"error":"boom"}\n',
    "anthropic": b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"boom"}}\n\n',
}
HTML = b"<html><head><title>502 Bad Gateway</title></head></html>\r\n"


class Heard(msgspec.Struct):
    """What somebody makes of an answer. `calls`: name and arguments. `failure`: why it is not whole."""

    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, Any]] = []
    reason: str = ""
    usage: Usage | None = None
    failure: str = ""


def heard(deltas: Sequence[Delta]) -> Heard:
    out = Heard()
    calls: dict[int, tuple[str, list[str]]] = {}
    for delta in deltas:
        match delta:
            case TextDelta():
                out.text += delta.text
            case ThinkingDelta():
                out.thinking += delta.text
            case ToolCallBegin():
                calls[delta.call] = delta.name, []
            case ToolCallArguments():
                calls[delta.call][1].append(delta.fragment)
            case Finish():
                out.reason = delta.reason.name
            case Report(tokens=tokens):
                out.usage = Usage(tokens.prompt_tokens, tokens.completion_tokens)
            case Failure():
                out.failure = delta.message
    out.calls = [(name, json.loads("".join(pieces) or "{}")) for name, pieces in calls.values()]
    return out


def decoded(decoder: AnswerDecoder, pieces: Sequence[bytes]) -> list[Delta]:
    deltas: list[Delta] = []
    for piece in pieces:
        deltas += decoder.receive_data(piece)
    return deltas + decoder.finish()


def encoded(encoder: AnswerEncoder, deltas: Sequence[Delta]) -> bytes:
    """One send per delta, as when each comes in a read of its own."""
    return b"".join([encoder.send([delta]) for delta in deltas]) + encoder.finish()


def heard_response(data: bytes, *, is_document: bool) -> Heard:
    """As an SDK hears a Responses answer."""
    response = last_response(data, is_document=is_document)
    text = "" if is_document else "".join(each["delta"] for each in _events(data) if each["type"] == _TEXT)
    if response is None:
        return Heard(text=text, failure="the stream has no end")
    out = _of_response(response)
    assert is_document or out.text == text
    return out


def last_response(data: bytes, *, is_document: bool) -> dict[str, Any] | None:
    """The response as it is when all was said; None for a stream without an end."""
    if is_document:
        found: dict[str, Any] = json.loads(data)
        return found
    events = _events(data)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    if not events or events[-1]["type"] not in ("response.completed", "response.incomplete"):
        return None
    return dict(events[-1]["response"])


_TEXT = "response.output_text.delta"


def _events(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: ")]


def _of_response(response: dict[str, Any]) -> Heard:
    assert response["model"] == "public"
    out = Heard()
    for item in response["output"]:
        match item["type"]:
            case "message":
                out.text += "".join(part["text"] for part in item["content"])
            case "reasoning":
                out.thinking += "".join(part["text"] for part in item["content"])
            case "function_call":
                out.calls.append((item["name"], json.loads(item["arguments"])))
    is_cut = response["status"] == "incomplete"
    out.reason = "LENGTH" if is_cut else "TOOL_CALLS" if out.calls else "STOP"
    usage = response["usage"]
    out.usage = Usage(usage["input_tokens"], usage["output_tokens"]) if usage else None
    return out
