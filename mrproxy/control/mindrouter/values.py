"""Pure. How MindRouter writes and reads what all its endpoints have: numbers, moments, pages, changes.

Everything has a number there. What is managed has that of its row; what is configured has none, so it gets one below
zero that is made of its name: it stays the same, and is no other's. Unknown fields of bodies are ignored, as there.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta

from mrproxy.control.api.call import Call
from mrproxy.control.api.problem import Detail, Problem

T = TypeVar("T")

Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Short = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=10_000)]
Search = Annotated[str, Meta(max_length=200)]
Skip = Annotated[int, Meta(ge=0, le=1_000_000)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
MomentText = Annotated[str, Meta(max_length=64, description="ISO 8601; without an offset it is UTC.")]

# The latest moment that storage keeps.
LAST_SECONDS = 253_402_300_799.0


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Of every list that is counted through."""

    skip: Skip = 0
    limit: Limit = 100


class Done(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done, to which of them."""

    status: str
    backend_id: int | None = None
    node_id: int | None = None
    user_id: int | None = None
    group_id: int | None = None
    key_id: int | None = None
    model: str | None = None


def configured_number(name: str) -> int:
    """48 bits: even JavaScript can count that far."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return -1 - int.from_bytes(digest, "big")


def number_in(call: Call[Any, Any], argument: str) -> int:
    """Of the path. Raises Problem for what is no number."""
    text = call.path[argument]
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise Problem("invalid", "This is no number.", errors=(Detail(f":{argument}", "must be a whole number"),))
    return int(text)


def iso(utc: float | None) -> str | None:
    return None if utc is None else iso_at(utc)


def iso_at(utc: float) -> str:
    """With microseconds and offset, as Python writes it."""
    return datetime.fromtimestamp(utc, UTC).isoformat()


def seconds_of(text: str | None, pointer: str) -> float | None:
    """Of a date or a moment. Raises Problem."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text.strip())
        seconds = found.replace(tzinfo=found.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds <= LAST_SECONDS:
        raise Problem(
            "invalid", "This is no moment.", errors=(Detail(pointer, "must be a date or a moment (ISO 8601)"),)
        )
    return seconds


def changes_in(patch: msgspec.Struct) -> dict[str, Any]:
    """The fields that a patch names. Raises Problem when there is none."""
    changes = {name: value for name in patch.__struct_fields__ if (value := getattr(patch, name)) is not UNSET}
    if not changes:
        raise Problem("malformed", "No fields to update")
    return changes


def not_found(kind: str) -> Problem:
    return Problem("not-found", f"{kind} not found")


def continued(rows: Sequence[T], total: int, configured: Sequence[T], query: PageQuery) -> tuple[list[T], int]:
    """A page: rows of the database (there are `total`), then what is configured; and how many there are of both."""
    start = max(0, query.skip - total)
    rest = configured[start : start + query.limit - len(rows)]
    return [*rows, *rest], total + len(configured)
