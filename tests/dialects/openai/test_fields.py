"""Fields are read by type, mistakes are named, and what is not known stays."""

import msgspec
import pytest

from mrproxy.dialects.openai.fields import decode, is_said, left_over, members, pass_on, unknown_names
from mrproxy.errors import ClientError, Code


class _Inner(msgspec.Struct):
    number: int


class _Outer(msgspec.Struct):
    inner: list[_Inner] = []


_decoder = msgspec.json.Decoder(_Outer)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b'{"inner":[{"number":"x"}]}', Code.INVALID_FIELD, "inner[0].number"),
        (b'{"inner":[{}]}', Code.MISSING_FIELD, "inner[0].number"),
        (b"[]", Code.INVALID_FIELD, None),
        (b"{", Code.INVALID_JSON, None),
        (b'{"inner":[{"number":1e999}]}', Code.INVALID_FIELD, "inner[0].number"),
        (b'{"x":' + b"[" * 100_000, Code.INVALID_JSON, None),
    ],
)
def test_a_mistake_is_named(body: bytes, code: Code, param: str | None) -> None:
    with pytest.raises(ClientError) as caught:
        decode(_decoder, body)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_name_that_is_not_utf8_is_a_mistake() -> None:
    with pytest.raises(ClientError):
        members(b'{"\xff":1}')


def test_what_is_not_known_stays_and_nulls_go() -> None:
    fields = members(b'{"a":1,"b":null,"c":[2]}')
    assert left_over(fields, frozenset({"a"})) == {"c": msgspec.Raw(b"[2]")}
    assert [is_said(value) for value in fields.values()] == [True, False, True]
    assert not is_said(msgspec.Raw())


def test_names_in_a_list_of_objects_are_found() -> None:
    assert unknown_names(msgspec.Raw(b'[{"a":1,"b":2},{"c":null,"d":3}]'), frozenset({"a"})) == {"b", "d"}


def test_an_encoder_has_the_last_word() -> None:
    body: dict[str, object] = {"model": "m"}
    warnings: list[str] = []
    one = msgspec.Raw(b"1")
    pass_on({"model": one, "options": one, "guided_regex": one}, body, "vLLM", warnings)
    assert body == {"model": "m", "guided_regex": one}
    assert [warning.split()[0] for warning in warnings] == ["model", "options"]
