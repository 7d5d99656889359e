"""Pure. Where a list goes on, as opaque text: base64url of the JSON of a keyset.

Opaque means that a client keeps it as it is; it does not mean that nobody can read or change it. So a cursor says
nothing but where to go on, and what comes out of a changed one is checked by the type it is read as.
"""

import base64
import binascii
from typing import TypeVar

import msgspec

from mrproxy.control.api.problem import Detail, Problem

T = TypeVar("T")

MAX_LIMIT = 500
DEFAULT_LIMIT = 100


def encode_cursor(keyset: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(keyset)).rstrip(b"=").decode()


def decode_cursor(cursor: str, kind: type[T]) -> T:
    """Raises Problem for what `encode_cursor` never made."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(data, type=kind)
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError):
        raise Problem("invalid", "This is no cursor of this list.", errors=(Detail("?cursor", "unknown"),)) from None
