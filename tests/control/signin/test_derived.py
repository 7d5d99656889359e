"""Keys for purposes, and the tags made with them."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.signin.derived import DerivedKeys, derive_keys, is_tag, tag

SECRET = b"s" * 32


def values(keys: DerivedKeys) -> list[bytes]:
    return [getattr(keys, name) for name in keys.__slots__]


def test_every_purpose_has_a_key_of_its_own() -> None:
    found = values(derive_keys(SECRET))
    assert len(set(found)) == len(found)
    assert {len(key) for key in found} == {32}


def test_keys_are_those_of_hkdf_and_stay_the_same() -> None:
    expected = HKDF(SHA256(), 32, None, b"mrproxy session cookie 1").derive(SECRET)
    assert derive_keys(SECRET).cookie == derive_keys(SECRET).cookie == expected


def test_another_secret_gives_other_keys() -> None:
    assert not set(values(derive_keys(SECRET))) & set(values(derive_keys(b"t" * 32)))


def test_keys_are_not_shown() -> None:
    keys = derive_keys(SECRET)
    assert repr(keys.cookie) not in repr(keys)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
)
def test_tags_of_different_parts_differ(left: list[str], right: list[str]) -> None:
    assert (tag(b"k", *left) == tag(b"k", *right)) == (left == right)


@given(st.text())
def test_nothing_but_the_tag_is_the_tag(text: str) -> None:
    assert is_tag(tag(b"k", "a"), b"k", "a")
    assert not is_tag(text, b"k", "a")
