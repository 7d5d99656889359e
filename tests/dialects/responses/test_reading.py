"""JSON read by type: every mistake names its place."""

import msgspec
import pytest

from mrproxy.dialects.responses.reading import (
    ABSENT,
    Warnings,
    invalid,
    is_given,
    missing,
    read,
    read_fields,
    read_text_or,
    require_utf8,
)
from mrproxy.errors import ClientError, Code


class _Inner(msgspec.Struct):
    size: int


class _Outer(msgspec.Struct):
    inner: list[_Inner] = []


_outer = msgspec.json.Decoder(_Outer)
_list = msgspec.json.Decoder(list[int])


@pytest.mark.parametrize(
    ("data", "place", "code", "param"),
    [
        (b'{"inner":[{"size":"x"}]}', "", Code.INVALID_FIELD, "inner[0].size"),
        (b'{"inner":[{"size":"x"}]}', "input[2]", Code.INVALID_FIELD, "input[2].inner[0].size"),
        (b'{"inner":[{}]}', "", Code.MISSING_FIELD, "inner[0].size"),
        (b'{"inner":[{}]}', "a", Code.MISSING_FIELD, "a.inner[0].size"),
        (b"[]", "", Code.INVALID_FIELD, None),
        (b"[]", "a", Code.INVALID_FIELD, "a"),
        (b"{", "", Code.INVALID_JSON, None),
        (b'{"inner":[' + b"[" * 10**5, "", Code.INVALID_FIELD, "inner[0]"),
        (b'{"inner":"\xff"}', "", Code.INVALID_FIELD, "inner"),
    ],
)
def test_a_mistake_names_its_place(data: bytes, place: str, code: Code, param: str | None) -> None:
    with pytest.raises(ClientError) as caught:
        read(_outer, data, place)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ClientError) as caught:
        read_fields(b'{"\xff":1}', "")
    assert caught.value.code is Code.INVALID_JSON


def test_what_is_right_is_read() -> None:
    assert read(_outer, b'{"inner":[{"size":3}],"more":1}', "").inner[0].size == 3
    assert {name: bytes(raw) for name, raw in read_fields(b'{"a":[1, 2],"b":null}', "").items()} == {
        "a": b"[1, 2]",
        "b": b"null",
    }


def test_a_string_may_stand_for_something_longer() -> None:
    assert read_text_or(_list, msgspec.Raw(b'"a"'), "") == "a"
    assert read_text_or(_list, msgspec.Raw(b"[1]"), "") == [1]
    with pytest.raises(ClientError):
        read_text_or(_list, msgspec.Raw(b"1"), "x")


def test_null_is_as_good_as_absent() -> None:
    assert [is_given(raw) for raw in (ABSENT, msgspec.Raw(b"null"), msgspec.Raw(b"0"))] == [False, False, True]


def test_a_body_is_utf8() -> None:
    require_utf8("é".encode())
    with pytest.raises(ClientError) as caught:
        require_utf8(b"\xff")
    assert caught.value.code is Code.INVALID_JSON


def test_warnings_are_said_once_and_in_order() -> None:
    warnings = Warnings()
    warnings.ignore("b", "of it")
    warnings.ignore("a", "of that")
    warnings.ignore("b", "of it")
    assert warnings.said() == ("b is ignored: of it", "a is ignored: of that")


def test_errors_carry_their_place() -> None:
    assert (invalid("a.b", "no").param, missing("c").param) == ("a.b", "c")
