"""Cursors come back as they went; a changed one is a 422."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.api.cursors import decode_cursor, encode_cursor
from mrproxy.control.api.problem import Problem


@given(st.integers(0, 2**62))
def test_a_keyset_survives(behind):
    assert decode_cursor(encode_cursor(behind), int) == behind


@given(st.tuples(st.text(), st.integers(0, 2**62)))
def test_a_keyset_of_several_values_survives(behind):
    assert decode_cursor(encode_cursor(behind), tuple[str, int]) == behind


@given(st.text(max_size=40))
def test_whatever_somebody_sends_is_a_keyset_or_a_problem(cursor):
    try:
        found = decode_cursor(cursor, int)
    except Problem as problem:
        found = problem.status
    assert isinstance(found, int)


def test_a_cursor_of_another_list_is_refused():
    with pytest.raises(Problem):
        decode_cursor(encode_cursor("name"), int)


@given(st.text())
def test_a_cursor_needs_no_escaping_in_a_url(text):
    assert set(encode_cursor(text)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
