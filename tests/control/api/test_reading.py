"""Invariant: whatever arrives is a value of the type, or a Problem of 400, 412, 415 or 422; nothing else is raised."""

import json
from collections.abc import Callable
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.api.problem import Problem
from mrproxy.control.api.reading import check_media_type, decode_body, decode_query, pointer_to_null, version_of


class Inner(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    tokens: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0


class Outer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str
    limits: Inner = Inner()
    many: list[Inner] = []
    named: dict[str, int] = {}


class Wanted(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    limit: int = 10
    is_active: bool | None = None
    status: tuple[str, ...] = ()


def status_of(read: Callable[[], object]) -> int:
    try:
        read()
    except Problem as problem:
        return problem.status
    return 200


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"{}", "invalid", "/name"),
        (b"", "invalid", "/name"),
        (b'{"name": 1}', "invalid", "/name"),
        (b'{"name": "a", "nam": 1}', "invalid", "/nam"),
        (b'{"name": "a", "x/y~z": 1}', "invalid", "/x~1y~0z"),
        (b'{"name": "a", "x\\n": 1}', "invalid", "/x\n"),
        (b'{"name": "a", "unknown field `x": 1}', "invalid", "/unknown field `x"),
        (b'{"name": "a", "limits": {"tokens": 1001}}', "invalid", "/limits/tokens"),
        (b'{"name": "a", "limits": {"token": 1}}', "invalid", "/limits/token"),
        (b'{"name": "a", "many": [{}, {"tokens": "1"}]}', "invalid", "/many/1/tokens"),
        (b'{"name": "a", "named": {"b": "c"}}', "invalid", "/named"),
        (b'{"name": "a\\u0000"}', "invalid", "/name"),
        (b'{"name": "a", "named": {"\\u0000": 1}}', "invalid", "/named"),
        (b"[]", "invalid", ""),
        (b'{"name": "a"', "malformed", None),
        (b'{"name": "\xff"}', "malformed", None),
        (b'{"name": "\\ud800"}', "malformed", None),
        (b"\xef\xbb\xbf{}", "malformed", None),
    ],
)
def test_what_is_wrong_is_said_with_its_place(body, code, pointer):
    with pytest.raises(Problem) as raised:
        decode_body(body, Outer)
    assert (raised.value.code, [each.pointer for each in raised.value.errors]) == (
        code,
        [pointer] if pointer is not None else [],
    )


def test_of_long_names_the_begin_is_repeated():
    long = "unknown field `" * 60_000
    for body in ({"name": "a", f"<{long}>\n": 1}, {"name": "a", "named": {long: ["\0"]}}):
        with pytest.raises(Problem) as raised:
            decode_body(json.dumps(body).encode(), Outer)
        (detail,) = raised.value.errors
        assert len(detail.pointer) + len(detail.detail) + len(raised.value.detail) < 1000


def test_a_backslash_before_u0000_is_text():
    assert decode_body(rb'{"name": "\\u0000"}', Outer).name == r"\u0000"


def test_nothing_is_too_deep():
    class Lenient(msgspec.Struct):
        name: str = ""

    with pytest.raises(Problem):
        decode_body(b'{"other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", Lenient)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_problem(body):
    assert status_of(lambda: decode_body(body, Outer)) in {200, 400, 422}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.fixed_dictionaries({"name": json_values, "limits": json_values, "many": json_values, "named": json_values}))
def test_any_json_is_a_value_or_a_problem(value):
    assert status_of(lambda: decode_body(json.dumps(value).encode(), Outer)) in {200, 400, 422}


@given(json_values)
def test_a_pointer_to_null_is_found_where_there_is_one(value):
    assert (pointer_to_null(value) is None) == ("\\u0000" not in json.dumps(value).replace("\\\\", ""))


def test_query_parameters_are_converted():
    found = decode_query([("limit", "5"), ("is_active", "true"), ("status", "a"), ("status", "b")], Wanted)
    assert (found.limit, found.is_active, found.status) == (5, True, ("a", "b"))


@pytest.mark.parametrize(
    ("pairs", "pointer"),
    [
        ([("limit", "five")], "?limit"),
        ([("limit", "1"), ("limit", "2")], "?limit"),
        ([("limits", "1")], "?limits"),
        ([("status", "\0")], "?"),
        ([("status", "\ud83d")], "?"),
        ([("is_active", "perhaps")], "?is_active"),
    ],
)
def test_a_query_parameter_that_is_wrong_is_named(pairs, pointer):
    with pytest.raises(Problem) as raised:
        decode_query(pairs, Wanted)
    assert (raised.value.status, raised.value.errors[0].pointer) == (422, pointer)


@given(st.lists(st.tuples(st.sampled_from(["limit", "is_active", "status", "x"]), st.text(max_size=6)), max_size=4))
def test_any_query_is_a_value_or_a_problem(pairs):
    assert status_of(lambda: decode_query(pairs, Wanted)) in {200, 422}


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"]
)
def test_json_is_taken_by_any_of_its_names(kind):
    check_media_type(kind)


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
)
def test_what_a_form_could_send_is_not_taken(kind):
    with pytest.raises(Problem) as raised:
        check_media_type(kind)
    assert raised.value.status == 415


@pytest.mark.parametrize(("header", "version"), [("", None), ("*", None), ('"3"', 3), (' "3.0af9" ', 3)])
def test_a_condition_names_a_version(header, version):
    assert version_of(header) == version


@pytest.mark.parametrize("header", ["3", 'W/"3"', '"x"', '"1", "2"', '"-1"', '"99999999999999999999999"', '"'])
def test_a_tag_that_we_never_made_matches_nothing(header):
    with pytest.raises(Problem) as raised:
        version_of(header)
    assert raised.value.status == 412
