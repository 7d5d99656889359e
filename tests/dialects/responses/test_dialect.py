"""Responses as a dialect: OpenAI's errors and lists, streams of its own."""

import json

from mrproxy.canonical.models import Model
from mrproxy.canonical.request import Operation, Shape
from mrproxy.dialects.openai import OPENAI
from mrproxy.dialects.responses.dialect import RESPONSES
from mrproxy.errors import Code, ProxyError


def test_errors_and_lists_are_openais() -> None:
    error = ProxyError(Code.MODEL_NOT_FOUND, "model 'm' not found")
    assert RESPONSES.encode_error(error, b"id-1") == OPENAI.encode_error(error, b"id-1")
    models = [Model("m", "vllm", 1_790_000_000)]
    assert RESPONSES.encode_models(models) == OPENAI.encode_models(models)


def test_a_stream_that_said_nothing_ends_with_the_event_that_the_sdk_raises() -> None:
    """OpenAI API reference, "Streaming events": `error` (2026); its SDK reads `error` inside (`_streaming.py`)."""
    name, data, *rest = RESPONSES.encode_stream_error(ProxyError(Code.BACKEND_FAILED, "x\ny"), b"id-1").split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    event = json.loads(data.removeprefix(b"data: "))
    assert (event["type"], event["code"], event["message"]) == ("error", "backend_failed", "x\ny")
    assert (event["param"], event["sequence_number"]) == (None, 0)
    assert event["error"]["message"] == "x\ny"
    assert b"[DONE]" not in data


def test_requests_are_its_own() -> None:
    request = RESPONSES.decode(b'{"model":"m","input":"hi","stream":true,"max_output_tokens":5}', Operation.RESPONSES)
    assert (request.model, request.shape, request.max_tokens, request.cuts_usage) == ("m", Shape.SSE, 5, False)
