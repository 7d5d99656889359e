"""Logprobs of a stream, joined. Shapes: OpenAI API reference, chat and completion objects (2026)."""

import msgspec
import pytest

from mrproxy.canonical.deltas import Delta, Logprobs
from mrproxy.dialects.openai.logprobs import as_completion, join_logprobs, read_logprobs


def join(*pieces: bytes) -> bytes:
    return msgspec.json.encode(join_logprobs([msgspec.Raw(piece) for piece in pieces]))


def test_lists_of_one_name_are_joined() -> None:
    assert join(b'{"content":[1],"refusal":null}', b'{"content":[2,3],"refusal":null}') == (
        b'{"content":[1,2,3],"refusal":null}'
    )
    assert join(b'{"tokens":["a"],"text_offset":[0]}', b'{"tokens":["b"]}') == b'{"tokens":["a","b"],"text_offset":[0]}'


def test_none_is_null_and_another_shape_is_left_out() -> None:
    assert join() == join(b"5", b'{"x":5}') == b"null"
    assert join(b'{"content":null}', b'{"content":[1]}') == b'{"content":[1]}'


def test_a_chats_logprobs_take_a_completions_shape() -> None:
    chat = (
        b'{"content":[{"token":"Gr\xc3\xbc","logprob":-0.5,"bytes":[71],"top_logprobs":[{"token":"a","logprob":-1.5}]},'
        b'{"token":"x","logprob":-2.0}]}'
    )
    assert msgspec.json.decode(as_completion(msgspec.Raw(chat), 7)) == {
        "tokens": ["Grü", "x"],
        "token_logprobs": [-0.5, -2.0],
        "top_logprobs": [{"a": -1.5}, {}],
        "text_offset": [7, 10],
    }


def test_logprobs_of_another_shape_stay() -> None:
    for raw in (b'{"tokens":["a"]}', b'{"content":null}', b"5", b'{"content":[{"token":1}]}'):
        assert as_completion(msgspec.Raw(raw), 0) == msgspec.Raw(raw)


def test_logprobs_must_be_text() -> None:
    deltas: list[Delta] = []
    read_logprobs(msgspec.Raw(b'{"a":1}'), 1, deltas)
    assert deltas == [Logprobs(msgspec.Raw(b'{"a":1}'), 1)]
    with pytest.raises(UnicodeDecodeError):
        read_logprobs(msgspec.Raw(b'{"a":"\xff"}'), 0, deltas)
