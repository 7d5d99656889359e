"""Pure. A record of the journal as a row of the table `records`, in values that both databases take.

Nothing that a client or an engine says can make a row that a database refuses: such a row would hold up all that stand
behind it, for ever.
Read next: `ingest.py`.
"""

from math import isfinite

from msgspec.structs import astuple

from mrproxy.link.records import JournalRecord

Value = str | int | float | bool | None
Row = tuple[Value, ...]

COLUMNS = (*JournalRecord.__struct_fields__, "ingested_utc", "cost")
COST = COLUMNS.index("cost")
STARTED = COLUMNS.index("started_utc")
COUNTED = tuple(COLUMNS.index(name) for name in ("prompt_tokens", "completion_tokens", "charged_tokens"))

_INT64_MAX = 2**63 - 1
# No request has so many. An engine that says more, or less than none, must not carry the sums over their edge:
# 64 bits have room for nine million such requests.
MOST_TOKENS = 10**12
# An index entry of PostgreSQL holds 2,704 bytes (a third of a page), and that of `usage_daily` has five such texts.
MOST_TEXT_BYTES = 400
# The last second that a calendar has. A clock may be wrong; what it says must still be shown.
LAST_UTC = 253_402_300_799.0
_SHORT_CHARACTERS = MOST_TEXT_BYTES // 4


def row_of(record: JournalRecord, ingested_utc: float) -> Row:
    """In the order of COLUMNS; the cost is not known here."""
    values = [storable(value) for value in astuple(record)]
    for index in COUNTED:
        tokens = values[index]
        if tokens is not None and not 0 <= tokens <= MOST_TOKENS:  # type: ignore[operator]
            values[index] = max(0, min(tokens, MOST_TOKENS))
    values[STARTED] = max(0.0, min(values[STARTED], LAST_UTC))  # type: ignore[type-var]
    return (*values, ingested_utc, None)


def storable(value: Value) -> Value:
    """The value, or what comes nearest of what both databases can hold.

    PostgreSQL has no NUL in texts, neither has integers of 64 bits without a sign, and SQLite takes NaN for NULL.
    """
    if type(value) is str:
        if len(value) > _SHORT_CHARACTERS:
            value = shortened(value)
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in value else value
    if type(value) is int:
        return max(-_INT64_MAX, min(value, _INT64_MAX))
    if type(value) is float and not isfinite(value):
        return 0.0
    return value


def shortened(text: str) -> str:
    """At most MOST_TEXT_BYTES of UTF-8, NULs counted as what stands for them; no character is cut in two."""
    text = text[:MOST_TEXT_BYTES].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", "replace")[:MOST_TEXT_BYTES].decode("utf-8", "ignore")
