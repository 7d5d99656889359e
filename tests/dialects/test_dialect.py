"""What every dialect can do, run by each: the same errors and models, in each one's own words."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from mrproxy.canonical.models import Model
from mrproxy.canonical.request import Operation
from mrproxy.canonical.surface import Surface
from mrproxy.dialects.anthropic import ANTHROPIC
from mrproxy.dialects.dialect import Dialect
from mrproxy.dialects.lanes import choose_lane
from mrproxy.dialects.ollama import OLLAMA
from mrproxy.dialects.openai import OPENAI
from mrproxy.dialects.responses.dialect import RESPONSES
from mrproxy.dialects.shallow import rename_model, require_one_model, set_context_length
from mrproxy.errors import ClientError, Code, ProxyError
from tests.fuzzing import fuzz, mutated

REQUESTS: dict[Dialect, tuple[Operation, bytes]] = {
    OPENAI: (Operation.CHAT, b'{"model":"m","messages":[{}]}'),
    OLLAMA: (Operation.CHAT, b'{"model":"m","messages":[{}]}'),
    ANTHROPIC: (Operation.MESSAGES, b'{"model":"m","messages":[{}],"max_tokens":1}'),
    RESPONSES: (Operation.RESPONSES, b'{"model":"m","input":"hi"}'),
}
every_dialect = pytest.mark.parametrize("dialect", REQUESTS, ids=lambda dialect: dialect.name)


def words(body: dict[str, Any]) -> str:
    """What an error says."""
    error = body["error"]
    return str(error if isinstance(error, str) else error["message"])


@every_dialect
@pytest.mark.parametrize("code", Code)
def test_every_error_has_its_words(dialect: Dialect, code: Code) -> None:
    body = json.loads(dialect.encode_error(ProxyError(code, 'no "such" thing ü'), b"id-1"))
    assert words(body) == 'no "such" thing ü'


@every_dialect
def test_an_error_in_a_stream_holds_the_same_words_as_outside(dialect: Dialect) -> None:
    error = ProxyError(Code.BACKEND_FAILED, "the backend\nfailed ü")
    lines = dialect.encode_stream_error(error, b"id-1").splitlines()
    told = [line.removeprefix(b"data: ") for line in lines if b"{" in line]
    assert len(told) == 1
    assert words(json.loads(told[0])) == "the backend\nfailed ü"


@every_dialect
def test_models_are_listed_under_their_public_names(dialect: Dialect) -> None:
    models = [Model("a/b:c", "vllm", 1_790_000_000), Model('q"', "openai", 0)]
    body = json.loads(dialect.encode_models(models))
    entries = body["data"] if "data" in body else body["models"]
    assert [entry.get("id", entry.get("model")) for entry in entries] == ["a/b:c", 'q"']
    empty = json.loads(dialect.encode_models([]))
    assert (empty["data"] if "data" in empty else empty["models"]) == []


@every_dialect
def test_requests_are_decoded_or_the_clients_mistake(dialect: Dialect) -> None:
    operation, body = REQUESTS[dialect]
    assert dialect.decode(body, operation).model == "m"
    for wrong in (b"{}", b"", b"[]", b'{"model":7}', b'{"model":""}', b"\xff"):
        with pytest.raises(ClientError):
            dialect.decode(wrong, operation)


def decode_anything(body: bytes) -> None:
    """Invariant: a request that can be changed as backends need it, or the client's mistake."""
    for dialect, (operation, _) in REQUESTS.items():
        with contextlib.suppress(ClientError):
            request = dialect.decode(body, operation)
            assert request.model
            choose_lane(Surface.RESPONSES, frozenset({Surface.RESPONSES}), request.body)
            for change in (require_one_model, _rename, _set_length):
                with contextlib.suppress(ClientError):
                    change(request.body)


def _rename(body: bytes) -> None:
    rename_model(body, "other")


def _set_length(body: bytes) -> None:
    set_context_length(body, 8192, is_fixed=True)


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"shallow requests": decode_anything}


@fuzz(75)
@given(mutated([body for _, body in REQUESTS.values()], [b"null", b'"', b"{", b"}", b"\xff", b"1e999", b"\\ud800"]))
def test_any_body_is_a_request_or_the_clients_mistake(body: bytes) -> None:
    decode_anything(body)


def test_dialects_have_names_of_their_own() -> None:
    assert [dialect.name for dialect in REQUESTS] == ["openai", "ollama", "anthropic", "responses"]
