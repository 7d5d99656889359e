"""Ollama's shapes, as its SDKs read them."""

import json

import msgspec
import ollama

from mrproxy.canonical.models import Model
from mrproxy.dialects.ollama import OLLAMA
from mrproxy.errors import Code, ProxyError


def test_an_error_is_one_member() -> None:
    assert OLLAMA.encode_error(ProxyError(Code.MODEL_NOT_FOUND, "model 'm' not found"), b"id-1") == (
        b'{"error":"model \'m\' not found"}'
    )


def test_an_error_in_a_stream_is_a_line() -> None:
    assert OLLAMA.encode_stream_error(ProxyError(Code.BACKEND_FAILED, "x"), b"id-1") == b'{"error":"x"}\n'


def test_a_backends_own_entry_is_kept_under_the_public_name() -> None:
    entry = msgspec.Raw(b'{"name":"own","model":"own","size":12,"details":{"families":["llama"],"x":1.50}}')
    listed = OLLAMA.encode_models([Model("public", "ollama", 0, entry)])
    assert json.loads(listed) == {
        "models": [{"name": "public", "model": "public", "size": 12, "details": {"families": ["llama"], "x": 1.5}}]
    }
    assert b"1.50" in listed


def test_a_model_of_another_engine_has_what_ollamas_clients_read_without_looking() -> None:
    (entry,) = json.loads(OLLAMA.encode_models([Model("bare", "vllm", 1 << 60)]))["models"]
    assert entry["name"] == entry["model"] == "bare"
    assert entry["modified_at"] == "9999-12-31T23:59:59Z"
    assert len(entry["digest"]) == 64
    assert (entry["size"], entry["details"]["family"]) == (0, "vllm")
    ollama.ListResponse.model_validate({"models": [entry]})


def test_running_models_are_the_backends_own_entries() -> None:
    assert OLLAMA.encode_running([msgspec.Raw(b'{"name":"m","size_vram":0.0}')]) == (
        b'{"models":[{"name":"m","size_vram":0.0}]}'
    )


def test_a_version_is_always_told() -> None:
    assert OLLAMA.encode_version("0.12.1") == b'{"version":"0.12.1"}'
    assert OLLAMA.encode_version("") == b'{"version":"0.0.0"}'
