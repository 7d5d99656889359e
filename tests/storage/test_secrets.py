"""What is sealed opens again, under the same secret and for the same purpose only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.storage.secrets import SecretBox, SecretUnreadable, subkey

SECRET = bytes(range(32))
BOX = SecretBox(SECRET, "backend api keys")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_opens_again_and_cannot_be_read(text: str):
    sealed = BOX.seal(text)
    assert BOX.open(sealed) == text
    assert len(text) < 4 or text not in sealed


def test_two_seals_of_one_text_differ():
    assert BOX.seal("key") != BOX.seal("key")


@pytest.mark.parametrize(
    "box", [SecretBox(bytes(32), "backend api keys"), SecretBox(SECRET, "other")], ids=["secret", "purpose"]
)
def test_nothing_else_opens_it(box: SecretBox):
    with pytest.raises(SecretUnreadable):
        box.open(BOX.seal("key"))


@pytest.mark.parametrize("damaged", ["", "x", BOX.seal("key")[:-4], "é"], ids=["nothing", "short", "cut", "not ASCII"])
def test_what_is_damaged_is_said_to_be(damaged: str):
    with pytest.raises(SecretUnreadable):
        BOX.open(damaged)


def test_a_subkey_is_the_same_for_good():
    """RFC 5869 with the secret above, no salt and this purpose: a change would lose every stored key."""
    assert subkey(SECRET, "test").hex() == "3761906c0e1abacd4ea64fb3e62d6baa0a46cb35112379799f27f18fbd6f1b16"
    assert subkey(SECRET, "test") != subkey(SECRET, "other")
