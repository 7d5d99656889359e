"""/api/show of a model that is elsewhere, as the SDK reads it."""

import json

import ollama
import pytest

from mrproxy.dialects.ollama.show import encode_show


def test_the_sdk_finds_what_is_known() -> None:
    shown = ollama.ShowResponse(**json.loads(encode_show("qwen3", 40960, "vllm", ["completion", "tools"])))
    info = dict(shown.modelinfo or {})
    assert info[f"{info['general.architecture']}.context_length"] == 40960
    assert info["general.name"] == "qwen3"
    assert shown.capabilities == ["completion", "tools"]


@pytest.mark.parametrize(("kind", "file_format"), [("vllm", ""), ("llamacpp", "gguf"), ("anthropic", "")])
def test_what_is_not_known_is_empty_or_absent(kind: str, file_format: str) -> None:
    shown = json.loads(encode_show("m", None, kind, []))
    assert shown == {
        "details": {
            "parent_model": "", "format": file_format, "family": "", "families": [], "parameter_size": "",
            "quantization_level": "",
        },
        "model_info": {"general.architecture": kind, "general.name": "m"},
        "capabilities": [],
    }  # fmt: skip
