"""What a caller got wrong is said with the field's name."""

import msgspec
import pytest

from mrproxy.dialects.anthropic.fields import invalid, is_null, missing, read, read_object
from mrproxy.errors import ClientError, Code


class _Block(msgspec.Struct):
    type: str
    size: int = 0


_blocks = msgspec.json.Decoder(list[_Block])
_block = msgspec.json.Decoder(_Block)


@pytest.mark.parametrize(
    ("value", "param", "code", "named"),
    [
        (b'[{"type":1}]', "messages", Code.INVALID_FIELD, "messages[0].type"),
        (b'[{"size":1}]', "messages", Code.MISSING_FIELD, "messages[0].type"),
        (b'{"type":"x"}', "messages", Code.INVALID_FIELD, "messages"),
        (b'{"type":1}', "", Code.INVALID_FIELD, "type"),
        (b"{}", "", Code.MISSING_FIELD, "type"),
        (b"{", "", Code.INVALID_JSON, None),
        (b'{"type":"\xff"}', "", Code.INVALID_JSON, None),
    ],
)
def test_the_field_that_is_wrong_is_named(value: bytes, param: str, code: Code, named: str | None) -> None:
    decoder = _blocks if param else _block
    with pytest.raises(ClientError) as caught:
        read(decoder, value, param)
    assert (caught.value.code, caught.value.status) == (code, 400)
    if named is not None:
        assert caught.value.param is not None
        assert caught.value.param.replace("[...]", "[0]") == named


def test_a_body_that_is_no_object_is_the_clients_mistake() -> None:
    with pytest.raises(ClientError) as caught:
        read_object(b"[]")
    assert (caught.value.code, caught.value.param) == (Code.INVALID_FIELD, None)
    assert read_object(b'{"a":[1]}') == {"a": msgspec.Raw(b"[1]")}


def test_absent_and_null_are_the_same() -> None:
    assert is_null(None)
    assert is_null(msgspec.Raw(b"null"))
    assert not is_null(msgspec.Raw(b"0"))


def test_words_begin_with_the_field() -> None:
    assert invalid("top_k", "too small").message == "top_k: too small"
    assert missing("model").message == "model: field required"
