"""What every tap that cuts nothing must do, whatever the stream: forward whole events, hold back half a one."""

import re

from mrproxy.dialects.usage import MAX_HELD_BYTES, Tap

END_OF_EVENT = re.compile(rb"\r?\n\r?\n")
END_OF_LINE = re.compile(rb"\n")


def forward_stream(tap: Tap, pieces: list[bytes], end: re.Pattern[bytes] = END_OF_EVENT) -> None:
    """Invariant: complete events leave at once, an incomplete one when it cannot be held; at last everything has."""
    received = forwarded = b""
    for piece in pieces:
        received += piece
        forwarded += tap.receive_data(piece)
        whole = max((found.end() for found in end.finditer(received)), default=0)
        is_overlong = len(received) - whole > MAX_HELD_BYTES
        if not is_overlong and not tap.is_mid_event:
            assert forwarded == received[:whole]
        else:
            assert is_overlong
            assert tap.is_mid_event
            assert forwarded == received
    assert forwarded + tap.finish() == received


def forward_document(tap: Tap, pieces: list[bytes]) -> None:
    """Invariant: everything is forwarded at once."""
    assert [tap.receive_data(piece) for piece in pieces] == pieces
    assert tap.finish() == b""
    assert not tap.is_mid_event
