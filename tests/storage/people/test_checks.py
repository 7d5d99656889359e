"""No value that passes these checks can make a database fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.storage.people import checks
from mrproxy.storage.people.checks import check_all, check_email, check_name, check_networks, check_text, clean, or_none
from mrproxy.storage.people.errors import Invalid

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=5,
)
CHECKS = [
    checks.check_text,
    checks.check_name,
    checks.check_email,
    checks.check_flag,
    checks.check_count,
    checks.check_amount,
    checks.check_weight,
    checks.check_number,
    checks.check_moment,
    checks.check_period,
    checks.check_names,
    checks.check_networks,
    checks.check_scopes,
    or_none(checks.check_secret),
    *checks.LIMIT_CHECKS.values(),
]


@given(ANYTHING)
def test_a_check_gives_a_value_or_invalid_and_is_done_after_once(value):
    for check in CHECKS:
        try:
            checked = check("field", value)
        except Invalid:
            continue
        assert check("field", checked) == checked


@given(st.text(st.characters()))
def test_what_passes_can_be_written_as_utf_8_without_nul(text: str):
    assert b"\0" not in clean(text).encode()
    try:
        checked = check_text("field", text)
    except Invalid:
        return
    assert b"\0" not in checked.encode()


@given(st.text(st.characters()))
def test_a_secret_can_be_a_headers_value(text: str):
    try:
        secret = checks.check_secret("api_key", text)
    except Invalid:
        return
    assert secret is None or (secret and all(0x21 <= ord(each) <= 0x7E for each in secret))


def test_how_an_accent_was_typed_makes_no_other_name():
    assert check_name("name", "a\u0308") == "ä"


@pytest.mark.parametrize("address", ["ann", "@example.org", "ann@", "a b@c", "a@b\n", "x" * 250 + "@y.org", 5])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(Invalid):
        check_email("email", address)


def test_an_empty_address_is_none():
    assert check_email("email", "") is check_email("email", None) is None


def test_networks_are_written_in_one_way():
    assert check_networks("addresses", ["10.0.0.1", "10.0.0.1/32", "2001:DB8::/32"]) == ("10.0.0.1/32", "2001:db8::/32")


def test_a_field_without_a_check_is_no_field():
    with pytest.raises(Invalid, match="id cannot be set"):
        check_all({"id": 1}, {"name": check_name})
    assert check_all({"name": None}, {"name": or_none(check_name)}) == {"name": None}
