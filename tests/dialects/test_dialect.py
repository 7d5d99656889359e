"""What every dialect can do, run by each: the same errors and models, in each one's own words."""

import json

import pytest

from mrproxy.canonical.models import Model
from mrproxy.canonical.request import Operation
from mrproxy.dialects.dialect import Dialect
from mrproxy.dialects.ollama import OLLAMA
from mrproxy.dialects.openai import OPENAI
from mrproxy.errors import ClientError, Code, ProxyError

DIALECTS: list[Dialect] = [OPENAI, OLLAMA]
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@every_dialect
@pytest.mark.parametrize("code", Code)
def test_every_error_has_its_words(dialect: Dialect, code: Code) -> None:
    body = json.loads(dialect.encode_error(ProxyError(code, 'no "such" thing ü'), b"id-1"))
    told = body["error"] if isinstance(body["error"], str) else body["error"]["message"]
    assert told == 'no "such" thing ü'


@every_dialect
def test_an_error_in_a_stream_holds_the_same_words_as_outside(dialect: Dialect) -> None:
    error = ProxyError(Code.BACKEND_FAILED, "the backend failed")
    assert dialect.encode_error(error, b"id-1") in dialect.encode_stream_error(error, b"id-1")


@every_dialect
def test_models_are_listed_under_their_public_names(dialect: Dialect) -> None:
    models = [Model("a/b:c", "vllm", 1_790_000_000), Model('q"', "openai", 0)]
    body = json.loads(dialect.encode_models(models))
    entries = body["data"] if "data" in body else body["models"]
    assert [entry.get("id", entry.get("model")) for entry in entries] == ["a/b:c", 'q"']
    assert json.loads(dialect.encode_models([])) in ({"object": "list", "data": []}, {"models": []})


@every_dialect
def test_requests_are_decoded_or_the_clients_mistake(dialect: Dialect) -> None:
    assert dialect.decode(b'{"model":"m","messages":[{}]}', Operation.CHAT).model == "m"
    with pytest.raises(ClientError):
        dialect.decode(b"{}", Operation.CHAT)
