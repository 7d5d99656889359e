"""A caller's regular expressions: the simple ones are run, and none can take long."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.dialects.patterns import MAX_WAYS, Pattern
from tests.fuzzing import fuzz


def is_in(pattern: str, text: str) -> bool | None:
    read = Pattern.read(pattern)
    assert read is not None
    return read.is_in(text)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^\d{4}-\d{2}-\d{2}$", "2026-11-21", True),
        (r"^\d{4}-\d{2}-\d{2}$", "2026-11-2", False),
        (r"^#[0-9a-fA-F]{6}$", "#00ffAA", True),
        (r"^[a-z][a-z0-9_-]*$", "a-name_1", True),
        (r"^[a-z][a-z0-9_-]*$", "1", False),
        (r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$", "ann@example.com", True),
        (r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$", "ann@example", False),
        (r"^(red|green|blue)$", "green", True),
        (r"^(red|green|blue)$", "grey", False),
        (r"^(?:v)?\d+(?:\.\d{1,3})?$", "v12.5", True),
        (r"b+?c??\/[\]\\-]", "aabb/]", True),
        (r"x", "abxc", True),
        ("", "anything", True),
        (r"^$", "", True),
        (r"ö\.", "schön? ö.", True),
        (r"^a|b$", "cb", True),
        (r"^\d$", "\u0663", False),
        (r"^a$", "a\n", False),
    ],
)
def test_simple_patterns_are_run_as_ecmascript_would(pattern: str, text: str, found: bool) -> None:
    assert is_in(pattern, text) is found


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$", r"(a|a)*$", r"(a|aa){9}", r"(?:x?){30}", r"(?=a)b", r"(?<!a)b", r"(a)\1", r"\p{L}+", r"\u0041",
        r"a**", r"a*+", r"a{2}{3}", r"(", r")", r"a)(b", r"[", r"[]", r"[z-a]", r"{", r"*a", r"^*", r"a{3,1}", r"\bx",
        r"[a--b]", r"[a&&b]", r"(?i)a", r"(?P<x>a)", "\\",
    ],
)  # fmt: skip
def test_what_may_run_away_or_is_not_understood_is_not_run(pattern: str) -> None:
    assert Pattern.read(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^a*a*a*a*b$", "a" * 100),
        (r"a*b", "a" * 2000),
        (r"^(a|a)" + "(a|a)" * 30 + "b", "a" * 40),
        (r"^" + "a?" * 30 + "a" * 30 + "b", "a" * 30),
        (r"^" + "a{1,100}" * 5 + "b", "a" * 60),
        (r"x|^a*a*a*", "a" * 1000),
    ],
)
def test_a_pattern_is_left_alone_where_the_text_is_too_long_for_it(pattern: str, text: str) -> None:
    assert is_in(pattern, text) is None


def test_a_long_text_is_no_obstacle_to_an_anchored_pattern() -> None:
    assert is_in(r"^[a-z ]+$", "a" * (MAX_WAYS - 1)) is True


PIECES = [
    "a",
    "b",
    ".",
    r"\d",
    r"\w",
    "[ab]",
    "[^a]",
    "(",
    "(?:",
    ")",
    "|",
    "*",
    "+",
    "?",
    "{2}",
    "{1,3}",
    "{1,}",
    "^",
    "$",
]


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join), st.text("ab1\n", max_size=12))
@fuzz(250)
def test_what_is_run_finds_what_python_finds(pattern: str, text: str) -> None:
    read = Pattern.read(pattern)
    if read is not None:
        expected = re.compile(pattern.replace("$", r"\Z"), re.ASCII).search(text) is not None
        assert read.is_in(text) in (expected, None)


@given(st.text(max_size=30))
@fuzz(150)
def test_no_text_is_more_than_unreadable(pattern: str) -> None:
    read = Pattern.read(pattern)
    assert read is None or read.is_in("abc") in (True, False, None)
