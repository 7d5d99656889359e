"""Pure. Pages of records as CSV or JSON lines: for people's spreadsheets, and for programs.

CSV is RFC 4180 in UTF-8 with a head. What is absent is an empty cell, truth is `true` or `false`. A cell that a
spreadsheet would take for a formula gets an apostrophe in front (OWASP, CSV Injection), for strangers choose these
texts; JSON lines are exact.
Read next: `records.py`, where pages come from.
"""

import csv
import io
from collections.abc import Callable, Sequence

import msgspec

from mrproxy.link.records import JournalRecord

Value = str | int | float | bool | None
Encode = Callable[[Sequence[Sequence[Value]]], bytes]

# What is shown of a record: the journal's, and what it cost.
FIELDS = (*JournalRecord.__struct_fields__, "cost")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_encode_json = msgspec.json.Encoder().encode


def encode_jsonl(rows: Sequence[Sequence[Value]]) -> bytes:
    return b"".join([_encode_json(dict(zip(FIELDS, row, strict=True))) + b"\n" for row in rows])


def encode_csv(rows: Sequence[Sequence[Value]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([[cell(value) for value in row] for row in rows])
    return text.getvalue().encode()


def cell(value: Value) -> Value:
    match value:
        case bool():
            return "true" if value else "false"
        case str() if value.startswith(_FORMULA):
            return f"'{value}"
        case _:
            return value


CSV_HEAD = encode_csv([FIELDS])
