"""Members of a body, as Go's encoding/json reads them."""

import msgspec
import pytest

from mrproxy.dialects.ollama.fields import OBJECT, TEXT, Fields, is_said, read, read_number, read_whole
from mrproxy.errors import ClientError, Code


def mistake(value: bytes, decoder: msgspec.json.Decoder[object], param: str) -> ClientError:
    with pytest.raises(ClientError) as caught:
        read(decoder, value, param)
    return caught.value


def test_a_null_and_nothing_are_not_said() -> None:
    assert not is_said(msgspec.Raw())
    assert not is_said(msgspec.Raw(b"null"))
    assert is_said(msgspec.Raw(b"0"))
    assert is_said(msgspec.Raw(b'"null"'))


def test_members_are_taken_once_and_the_others_are_left() -> None:
    fields = Fields(b'{"model":"m","a":"x","b":null,"c":[1]}')
    assert (fields.model(), fields.text("a"), fields.text("a"), fields.raw("b")) == ("m", "x", None, None)
    assert {name: bytes(value) for name, value in fields.rest().items()} == {"c": b"[1]"}


def test_an_empty_text_is_not_given() -> None:
    fields = Fields(b'{"system":"","model":""}')
    assert fields.text("system") is None
    with pytest.raises(ClientError) as caught:
        fields.model()
    assert (caught.value.code, caught.value.param) == (Code.MISSING_FIELD, "model")


def test_mistakes_name_the_innermost_field() -> None:
    class Inner(msgspec.Struct):
        role: str

    inner = msgspec.json.Decoder(list[Inner])
    assert mistake(b'[{"role":1}]', inner, "messages").param == "messages[0].role"
    absent = mistake(b"[{}]", inner, "messages")
    assert (absent.param, absent.code) == ("messages[0].role", Code.MISSING_FIELD)
    assert mistake(b"1", TEXT, "prompt").param == "prompt"
    assert mistake(b"[]", OBJECT, "").param is None
    assert mistake(b'{"a":', OBJECT, "").code is Code.INVALID_JSON


@pytest.mark.parametrize("body", [b"", b"[", b"\xff", b'{"a":"\xff"}', b'{"a":' * 50_000, b"null", b'"x"'])
def test_what_is_no_object_of_text_is_refused(body: bytes) -> None:
    with pytest.raises(ClientError) as caught:
        Fields(body)
    assert caught.value.status == 400


def test_numbers_are_as_generous_as_in_go() -> None:
    assert read_whole(msgspec.Raw(b"5.0"), "options.top_k") == 5
    assert read_whole(msgspec.Raw(b"-1"), "options.seed") == -1
    assert read_number(msgspec.Raw(b"0"), "options.temperature") == 0.0
    for wrong in (b"99999999999999999999", b"1.5e300", b'"5"', b"true"):
        with pytest.raises(ClientError):
            read_whole(msgspec.Raw(wrong), "options.top_k")
