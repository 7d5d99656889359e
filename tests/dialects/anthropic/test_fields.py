"""What a caller got wrong is said with the field's name, and what nobody understood is not lost."""

import msgspec
import pytest

from mrproxy.dialects.anthropic.fields import Members, Notes, begins, invalid, missing, read, text_or_objects
from mrproxy.errors import ClientError, Code


class _Block(msgspec.Struct):
    type: str
    size: int = 0


_blocks = msgspec.json.Decoder(list[_Block])
_block = msgspec.json.Decoder(_Block)


@pytest.mark.parametrize(
    ("value", "param", "code", "named"),
    [
        (b'[{"type":1}]', "messages", Code.INVALID_FIELD, "messages.0.type"),
        (b'[{"size":1}]', "messages", Code.MISSING_FIELD, "messages.0.type"),
        (b'{"type":"x"}', "messages", Code.INVALID_FIELD, "messages"),
        (b'{"type":1}', "", Code.INVALID_FIELD, "type"),
        (b"{}", "", Code.MISSING_FIELD, "type"),
        (b"[]", "", Code.INVALID_FIELD, None),
        (b"{", "", Code.INVALID_JSON, None),
        (b'{"type":"\xff"}', "", Code.INVALID_JSON, None),
    ],
)
def test_the_field_that_is_wrong_is_named(value: bytes, param: str, code: Code, named: str | None) -> None:
    with pytest.raises(ClientError) as caught:
        if param:
            read(_blocks, value, param)
        else:
            read(_block, value)
    assert (caught.value.code, caught.value.status, caught.value.param) == (code, 400, named)


def test_members_are_taken_by_type_and_the_rest_is_left() -> None:
    body = Members(
        b'{"a":"x","b":1,"c":0.5,"d":true,"e":["y"],"f":{"g":"z"},"h":[{"i":1},{}],"j":null,"k":null,"l":[1]}', "top"
    )
    assert (body.text("a"), body.integer("b"), body.number("c"), body.flag("d")) == ("x", 1, 0.5, True)
    assert body.texts("e") == ("y",)
    inner = body.members("f")
    assert inner is not None
    assert (inner.path, inner.text("g")) == ("top.f", "z")
    assert [each.path for each in body.objects("h")] == ["top.h.0", "top.h.1"]
    assert (body.text("j"), body.text("absent"), body.texts("absent"), body.objects("absent")) == (None, None, (), [])
    assert body.left() == {"l": msgspec.Raw(b"[1]")}


@pytest.mark.parametrize(
    ("body", "param"),
    [(b'{"a":1}', "top.a"), (b'{"a":null}', "top.a"), (b"{}", "top.a"), (b'{"a":"\\ud800"}', "top"), (b"[]", "top")],
)
def test_a_required_member_is_there_and_of_its_type(body: bytes, param: str) -> None:
    with pytest.raises(ClientError) as caught:
        Members(body, "top").required_text("a")
    assert caught.value.param == param


@pytest.mark.parametrize("number", [b"9223372036854775808", b"-9223372036854775809", b"1.5", b"1e400", b'"1"'])
def test_integers_are_such_as_engines_hold(number: bytes) -> None:
    with pytest.raises(ClientError):
        Members(b'{"a":%b}' % number).integer("a")


def test_content_is_a_string_or_blocks() -> None:
    assert text_or_objects(msgspec.Raw(b'"x"'), "content") == "x"
    blocks = text_or_objects(msgspec.Raw(b'[{"type":"text"}]'), "content")
    assert [block.path for block in blocks if isinstance(block, Members)] == ["content.0"]
    for wrong in (b"1", b"{}", b"[1]"):
        with pytest.raises(ClientError):
            text_or_objects(msgspec.Raw(wrong), "content")


def test_words_begin_with_the_field() -> None:
    assert invalid("top_k", "too small").message == "top_k: too small"
    assert (invalid("", "too small").message, invalid("", "x").param) == ("too small", None)
    assert missing("model").message == "model: field required"


def test_json_tells_its_type_by_its_beginning() -> None:
    assert begins(msgspec.Raw(b'{"a":1}'), b"{")
    assert not begins(msgspec.Raw(b"[1]"), b"{")
    assert not begins(msgspec.Raw(b""), b"{")


def test_each_warning_is_said_once() -> None:
    notes = Notes()
    notes.ignored("x", "no reason")
    notes.ignored("x", "no reason")
    notes.left_of(Members(b'{"y":1,"z":null}'), "block")
    assert notes.all() == ("x is ignored: no reason", "block.y is ignored: it is not known here")
