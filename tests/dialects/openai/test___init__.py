"""OpenAI's shapes, as its SDK reads them."""

import json

import pytest

from mrproxy.canonical.models import Model
from mrproxy.dialects.openai import OPENAI
from mrproxy.errors import ClientError, Code, ProxyError


@pytest.mark.parametrize(
    ("code", "kind", "spelling"),
    [
        (Code.INVALID_FIELD, "invalid_request_error", "invalid_field"),
        (Code.INVALID_KEY, "authentication_error", "invalid_api_key"),
        (Code.MISSING_KEY, "authentication_error", "invalid_api_key"),
        (Code.MODEL_FORBIDDEN, "permission_error", "model_forbidden"),
        (Code.MODEL_NOT_FOUND, "not_found_error", "model_not_found"),
        (Code.METHOD_NOT_ALLOWED, "invalid_request_error", "method_not_allowed"),
        (Code.REQUEST_LIMIT, "rate_limit_error", "rate_limit_exceeded"),
        (Code.TOKEN_LIMIT, "rate_limit_error", "rate_limit_exceeded"),
        (Code.BUDGET_EXHAUSTED, "rate_limit_error", "insufficient_quota"),
        (Code.INTERNAL, "server_error", "internal_error"),
        (Code.BACKEND_FAILED, "server_error", "backend_failed"),
        (Code.NO_BACKEND, "service_unavailable_error", "no_backend"),
        (Code.BACKEND_TIMEOUT, "timeout_error", "backend_timeout"),
    ],
)
def test_errors_have_openais_types_and_its_codes_where_it_has_one(code: Code, kind: str, spelling: str) -> None:
    error = json.loads(OPENAI.encode_error(ProxyError(code, "x"), b"id-1"))["error"]
    assert error == {"message": "x", "type": kind, "param": None, "code": spelling, "request_id": "id-1"}


def test_the_field_that_is_wrong_is_named() -> None:
    error = ClientError(Code.INVALID_FIELD, "x", param="max_tokens")
    assert json.loads(OPENAI.encode_error(error, b"id-1"))["error"]["param"] == "max_tokens"


def test_a_stream_ends_with_the_error_and_done() -> None:
    error = ProxyError(Code.BACKEND_FAILED, "x")
    first, last, rest = OPENAI.encode_stream_error(error, b"id-1").split(b"\n\n")
    assert first == b"data: " + OPENAI.encode_error(error, b"id-1")
    assert (last, rest) == (b"data: [DONE]", b"")


def test_model_entries_are_openais_with_vllms_length() -> None:
    entry = {"id": "m", "object": "model", "created": 7, "owned_by": "vllm"}
    assert json.loads(OPENAI.encode_models([Model("m", "vllm", 7)])) == {"object": "list", "data": [entry]}
    assert json.loads(OPENAI.encode_model(Model("m", "vllm", 7, context_length=4096))) == entry | {
        "max_model_len": 4096
    }
