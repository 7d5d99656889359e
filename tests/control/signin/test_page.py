"""Pages: everything that is shown is escaped."""

import re

from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.signin.page import ERRORS, STYLE, Link, password_page, sign_in_page


@given(st.text(st.sampled_from("<>\"'&/ab=\n"), min_size=1, max_size=30))
def test_no_text_becomes_markup(text: str) -> None:
    page = sign_in_page(text, text, [Link(text, text)], name=text, message=text)
    tags = re.findall(r"<[^>]*>", page)
    plain = re.findall(r"<[^>]*>", sign_in_page("x", "x", [Link("x", "x")], name="x", message="x"))
    assert len(tags) == len(plain)
    other = password_page(text, text, text, is_due=True, message=text)
    assert len(re.findall(r"<[^>]*>", other)) == len(
        re.findall(r"<[^>]*>", password_page("x", "x", "x", is_due=True, message="x"))
    )


def test_fields_have_labels_and_tell_the_browser_what_they_are() -> None:
    page = sign_in_page("t", "/", [])
    for field, word in (("name", "username"), ("password", "current-password")):
        assert f'<label for="{field}">' in page
        assert f'autocomplete="{word}"' in page
    assert "Other ways" not in page
    assert 'autocomplete="new-password"' in password_page("t", "/", "ada", is_due=False)


def test_colours_are_defined_in_both_schemes() -> None:
    light, _, dark = STYLE.partition("@media (prefers-color-scheme: dark)")
    used = set(re.findall(r"var\((--[a-z-]+)\)", STYLE))
    assert used <= set(re.findall(r"(--[a-z-]+):", light))
    assert used - set(re.findall(r"(--[a-z-]+):", dark.partition("} }")[0])) == set()


def test_every_error_is_a_sentence() -> None:
    assert all(text.endswith(".") for text in ERRORS.values())
