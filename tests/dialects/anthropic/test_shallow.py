"""What the straight lane reads of Anthropic's requests."""

import pytest

from mrproxy.canonical.request import Operation, Shape
from mrproxy.dialects.anthropic.shallow import decode_messages
from mrproxy.errors import ClientError, Code


def body(rest: bytes = b"") -> bytes:
    return b'{"model":"m","messages":[{"role":"user","content":"hi"}]%b}' % rest


@pytest.mark.parametrize(
    ("rest", "shape", "bound"),
    [
        (b',"max_tokens":5', Shape.JSON, 5),
        (b',"max_tokens":5,"stream":false', Shape.JSON, 5),
        (b',"max_tokens":5,"stream":null', Shape.JSON, 5),
        (b',"max_tokens":7,"stream":true,"system":[{"type":"text"}]', Shape.SSE, 7),
        (b',"max_tokens":-1', Shape.JSON, None),
    ],
)
def test_a_message_passes_byte_for_byte(rest: bytes, shape: Shape, bound: int | None) -> None:
    request = decode_messages(body(rest), Operation.MESSAGES)
    assert (request.model, request.shape, request.max_tokens) == ("m", shape, bound)
    assert request.body == body(rest)
    assert request.prompt_bytes == len(request.body)
    assert not request.cuts_usage


def test_counting_tokens_generates_none() -> None:
    request = decode_messages(body(), Operation.COUNT_TOKENS)
    assert (request.max_tokens, request.prompt_bytes, request.shape) == (0, 0, Shape.JSON)


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        (body(), Code.MISSING_FIELD, "max_tokens"),
        (body(b',"max_tokens":null'), Code.MISSING_FIELD, "max_tokens"),
        (body(b',"max_tokens":"5"'), Code.INVALID_FIELD, "max_tokens"),
        (body(b',"max_tokens":5,"stream":1'), Code.INVALID_FIELD, "stream"),
        (b'{"messages":[],"max_tokens":1}', Code.MISSING_FIELD, "model"),
        (b'{"model":"","messages":[],"max_tokens":1}', Code.MISSING_FIELD, "model"),
        (b'{"model":"m","max_tokens":1}', Code.MISSING_FIELD, "messages"),
        (b'{"model":"m"', Code.INVALID_JSON, None),
        (b'{"model":"m","x":' + b"[" * 5000, Code.INVALID_JSON, None),
        (b"[]", Code.INVALID_FIELD, None),
    ],
)
def test_what_is_missing_or_wrong_is_named(wrong: bytes, code: Code, param: str | None) -> None:
    with pytest.raises(ClientError) as caught:
        decode_messages(wrong, Operation.MESSAGES)
    assert (caught.value.code, caught.value.param) == (code, param)
