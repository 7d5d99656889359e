"""What cannot be read raises one of these, whatever is wrong with it."""

import msgspec
import pytest

from mrproxy.dialects.unreadable import UNREADABLE

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


@pytest.mark.parametrize("body", [b"", b"{", b"7", b'{"\xff":1}', b'{"\xed\xa0\x80":1}'])
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    with pytest.raises(UNREADABLE):
        _fields.decode(body)


def test_depth_is_one_of_them() -> None:
    with pytest.raises(UNREADABLE):
        msgspec.json.decode(b"[" * 100_000)


def test_half_a_character_that_is_written_again_is_one_of_them() -> None:
    with pytest.raises(UNREADABLE):
        msgspec.json.encode("\ud800")
