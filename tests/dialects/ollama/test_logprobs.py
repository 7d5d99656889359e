"""Log probabilities. Shapes: ollama api/types.go, v0.17.4 (February 2026); openai-python types (2026)."""

import json

import msgspec
import pytest
from openai.types.chat.chat_completion import ChoiceLogprobs
from openai.types.completion_choice import Logprobs

from mrproxy.dialects.ollama.logprobs import Logprob, TokenLogprob, of_chat, of_completion, of_ollama

TOKENS = [
    Logprob("Hi", -0.5, [72, 105], [TokenLogprob("Hi", -0.5, [72, 105]), TokenLogprob("Yo", -1.25)]),
    Logprob("!", -2.0),
]


def test_a_chat_gets_openais_object_and_back() -> None:
    told = of_chat(TOKENS)
    parsed = ChoiceLogprobs.model_validate_json(bytes(told))
    assert [(token.token, token.bytes, len(token.top_logprobs)) for token in parsed.content or ()] == [
        ("Hi", [72, 105], 2), ("!", None, 0),
    ]  # fmt: skip
    assert of_ollama(told) == TOKENS


def test_a_completion_gets_four_lists_and_back_without_bytes() -> None:
    told = of_completion(TOKENS, 7)
    parsed = Logprobs.model_validate_json(bytes(told))
    assert (parsed.tokens, parsed.token_logprobs, parsed.text_offset) == (["Hi", "!"], [-0.5, -2.0], [7, 9])
    assert parsed.top_logprobs == [{"Hi": -0.5, "Yo": -1.25}, {}]
    assert of_ollama(told) == [
        Logprob("Hi", -0.5, top_logprobs=[TokenLogprob("Hi", -0.5), TokenLogprob("Yo", -1.25)]),
        Logprob("!", -2.0),
    ]
    assert json.loads(bytes(of_completion(TOKENS[1:], 0)))["top_logprobs"] is None


def test_tokens_without_a_number_are_left_out() -> None:
    assert of_ollama(msgspec.Raw(b'{"tokens":["a","b"],"token_logprobs":[null,-1]}')) == [Logprob("b", -1.0)]


@pytest.mark.parametrize("other", [b"{}", b"null", b"[", b'{"content":5}', b'{"content":null}', b"\xff"])
def test_what_is_neither_is_nothing(other: bytes) -> None:
    assert of_ollama(msgspec.Raw(other)) == []


def test_what_is_empty_is_not_written() -> None:
    assert msgspec.json.encode(TOKENS[1]) == b'{"token":"!","logprob":-2.0}'
