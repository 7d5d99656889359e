"""Anthropic's shapes, as its SDK reads them."""

import json

import pytest

from mrproxy.canonical.models import Model
from mrproxy.canonical.request import Operation
from mrproxy.dialects.anthropic import ANTHROPIC, error_type
from mrproxy.dialects.anthropic.fields import NoThreads
from mrproxy.dialects.dialect import Dialect
from mrproxy.errors import Code, ProxyError


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.INVALID_FIELD, "invalid_request_error"),
        (Code.MISSING_KEY, "authentication_error"),
        (Code.INVALID_KEY, "authentication_error"),
        (Code.MODEL_FORBIDDEN, "permission_error"),
        (Code.MODEL_NOT_FOUND, "not_found_error"),
        (Code.METHOD_NOT_ALLOWED, "invalid_request_error"),
        (Code.BODY_TOO_LARGE, "request_too_large"),
        (Code.TOKEN_LIMIT, "rate_limit_error"),
        (Code.BUDGET_EXHAUSTED, "rate_limit_error"),
        (Code.INTERNAL, "api_error"),
        (Code.BACKEND_FAILED, "api_error"),
        (Code.NO_BACKEND, "overloaded_error"),
        (Code.BACKEND_TIMEOUT, "timeout_error"),
    ],
)
def test_errors_have_anthropics_types(code: Code, kind: str) -> None:
    assert json.loads(ANTHROPIC.encode_error(ProxyError(code, "x"), b"id-1")) == {
        "type": "error",
        "error": {"type": kind, "message": "x"},
        "request_id": "id-1",
    }


def test_anthropics_own_status_for_overload_has_its_type() -> None:
    assert error_type(529) == error_type(503) == "overloaded_error"


def test_a_refused_thread_is_told_in_the_word_that_the_sdks_look_for() -> None:
    error = json.loads(ANTHROPIC.encode_error(NoThreads(), b"id-1"))["error"]
    assert error["details"] == {"error_code": "thread_unsupported_request"}


def test_in_a_stream_an_error_is_an_event() -> None:
    error = ProxyError(Code.BACKEND_FAILED, "x\ny")
    name, data, *rest = ANTHROPIC.encode_stream_error(error, b"id-1").split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    assert data == b"data: " + ANTHROPIC.encode_error(error, b"id-1")


def test_models_are_one_page_with_their_dates() -> None:
    models = [Model("a", "vllm", 1_790_000_000, context_length=4096), Model("b", "x", 0), Model("c", "x", 10**18)]
    page = json.loads(ANTHROPIC.encode_models(models))
    assert (page["has_more"], page["first_id"], page["last_id"]) == (False, "a", "c")
    assert page["data"][0] == {
        "type": "model",
        "id": "a",
        "display_name": "a",
        "created_at": "2026-09-21T14:13:20Z",
        "lifecycle": "active",
        "max_input_tokens": 4096,
        "max_tokens": None,
    }
    assert [entry["created_at"] for entry in page["data"][1:]] == ["1970-01-01T00:00:00Z"] * 2
    assert json.loads(ANTHROPIC.encode_model(models[0])) == page["data"][0]


def test_no_models_are_an_empty_page() -> None:
    assert json.loads(ANTHROPIC.encode_models([])) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_it_is_a_dialect() -> None:
    dialect: Dialect = ANTHROPIC
    assert dialect.name == "anthropic"
    assert dialect.decode(b'{"model":"m","messages":[],"max_tokens":1}', Operation.MESSAGES).model == "m"
