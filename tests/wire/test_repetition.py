"""`Repetition`: the next message is recognised exactly when its head differs in the digits of its length only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.wire.http1 import Repetition, split_length

_names = st.sampled_from(["Host", "Accept", "X-Length", "Content-Lengthy", "authorization"])
_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
_lines = st.lists(st.tuples(_names, _values).map(lambda line: f"{line[0]}: {line[1]}\r\n".encode()), max_size=4)
_digits = st.integers(0, 10**15 - 1).map(lambda number: b"%d" % number)
_spellings = st.sampled_from([b"Content-Length: ", b"content-length: "])


@st.composite
def heads(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A complete head in two parts: its digits belong between them."""
    before = b"POST /v1/chat/completions HTTP/1.1\r\n" + b"".join(draw(_lines)) + draw(_spellings)
    return before, b"\r\n" + b"".join(draw(_lines)) + b"\r\n"


@given(heads(), _digits, _digits, st.binary(max_size=40))
def test_the_same_head_matches_whatever_its_length_and_whatever_follows(head, first, second, rest):
    before, after = head
    raw = before + second + after
    assert Repetition(before + first + after).match(raw + rest) == (len(raw), int(second))


@given(heads(), _digits, st.binary(max_size=20))
def test_no_data_that_is_cut_off_within_the_head_matches(head, digits, rest):
    raw = head[0] + digits + head[1]
    repetition = Repetition(raw)
    assert all(repetition.match(raw[:end]) == (0, 0) for end in range(len(raw)))
    assert repetition.match(raw + rest)[0] == len(raw)


@given(heads(), _digits, st.data())
def test_a_head_with_any_other_byte_matches_only_if_its_digits_alone_differ(head, digits, data):
    raw = bytearray(head[0] + digits + head[1])
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255))
    check_against_the_definition(head, digits, bytes(raw))


@given(heads(), _digits, st.data())
def test_a_head_with_bytes_inserted_or_removed_matches_only_if_its_digits_alone_differ(head, digits, data):
    raw = head[0] + digits + head[1]
    start = data.draw(st.integers(0, len(raw)))
    stop = data.draw(st.integers(start, min(len(raw), start + 3)))
    inserted = data.draw(st.sampled_from([b"", b"0", b"+1", b" ", b"\r", b"\r\n", b"a: b\r\n", b"\xb2", b"_1"]))
    check_against_the_definition(head, digits, raw[:start] + inserted + raw[stop:])


@given(heads(), heads(), _digits)
def test_another_head_does_not_match(one, other, digits):
    check_against_the_definition(one, digits, other[0] + digits + other[1])


def check_against_the_definition(head: tuple[bytes, bytes], digits: bytes, data: bytes) -> None:
    """`match` finds what the definition says: prefix, 1 to 15 ASCII digits, suffix."""
    before, after = head
    expected = (0, 0)
    if data.startswith(before):
        count = 0
        while data[len(before) + count : len(before) + count + 1] in [b"%d" % digit for digit in range(10)]:
            count += 1
        if 1 <= count <= 15 and data.startswith(after, len(before) + count):
            expected = (len(before) + count + len(after), int(data[len(before) : len(before) + count]))
    assert Repetition(before + digits + after).match(data) == expected


HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\nAccept: */*\r\n\r\n"


@pytest.mark.parametrize("digits", [b"0", b"007", b"1", b"9" * 15])
def test_one_to_fifteen_plain_digits_are_a_length(digits):
    raw = HEAD % digits
    assert Repetition(HEAD % b"12").match(raw) == (len(raw), int(digits))


@pytest.mark.parametrize(
    "digits",
    [
        b"",
        b"1" * 16,
        b"+1",
        b"-1",
        b" 1",
        b"1 ",
        b"1,1",
        b"0x1",
        b"1_0",
        b"\xc2\xb2",
        b"\xd9\xa1",
        b"1\r\nA: b",
        b"1\n",
    ],
)
def test_anything_else_is_none(digits):
    assert Repetition(HEAD % b"12").match(HEAD % digits) == (0, 0)


@given(heads(), _digits, _digits)
def test_what_matches_has_the_key_under_which_the_head_is_kept(head, first, second):
    before, after = head
    raw = before + second + after
    if split_length(before + first + after)[0] == before + after:
        assert split_length(raw) == (before + after, Repetition(before + first + after).match(raw)[1])
