"""Which passwords are taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.signin.password_policy import COMMON, MAX_BYTES, MIN_CHARACTERS, normal_password, why_not


@pytest.mark.parametrize(
    "password",
    ["correct horse", "пароль из слов", "a b c d e f", "  spaces count  ", "🔑🔑🔑a1b2c3d4", "x9" * 100 + "kz"],
)
def test_ten_characters_of_any_kind_are_enough(password: str) -> None:
    assert why_not(password, "ada") is None


@pytest.mark.parametrize("password", ["", "short", "ninechars", "🔑" * 9])
def test_less_is_refused(password: str) -> None:
    assert "10 characters" in (why_not(password) or "")


@pytest.mark.parametrize("password", ["x1y2" * 257, "é" * 513, "\ufdfa" * 60])
def test_more_than_a_kibibyte_is_refused_after_normalising(password: str) -> None:
    assert why_not(password) == f"A password may have {MAX_BYTES} bytes at most."


@pytest.mark.parametrize(
    "password", ["ada.lovelace", "ADA.Lovelace", "ecalevol.ada", "ada.lovelace1!", "ada.lovelaceada.lovelace"]
)
def test_the_users_name_is_refused(password: str) -> None:
    assert "name" in (why_not(password, "Ada.Lovelace") or "")


def test_a_name_inside_a_longer_password_is_no_harm() -> None:
    assert why_not("ada and her engine", "ada") is None


@pytest.mark.parametrize("password", ["1234567890", "Password123", "aaaaaaaaaaaa", "ababababababa", "QWERTYUIOP"])
def test_what_is_tried_first_is_refused(password: str) -> None:
    assert "tried first" in (why_not(password) or "")


def test_every_common_password_would_be_long_enough() -> None:
    assert {word for word in COMMON if len(word) < MIN_CHARACTERS} == set()


@pytest.mark.parametrize("password", ["zero\0inside12", "\ud800lone surrogate"])
def test_what_nobody_can_type_is_refused(password: str) -> None:
    assert why_not(password) is not None


def test_a_password_is_the_same_however_it_is_composed() -> None:
    assert normal_password("A\u030angstro\u0308m") == normal_password("\u212bngstr\u00f6m")


@given(st.text(st.characters()), st.text(max_size=20))
def test_every_text_gets_an_answer(password: str, name: str) -> None:
    reason = why_not(password, name)
    assert reason is None or reason.endswith(".")
    if reason is None:
        assert MIN_CHARACTERS <= len(normal_password(password)) <= MAX_BYTES
