"""Logprobs of a stream, joined. Shapes: OpenAI API reference, chat and completion objects (2026)."""

import msgspec

from mrproxy.dialects.openai.logprobs import join_logprobs


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
