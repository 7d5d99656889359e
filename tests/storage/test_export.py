"""Records as text."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.link.records import JournalRecord
from mrproxy.storage.export import CSV_HEAD, FIELDS, cell, encode_csv, encode_jsonl
from mrproxy.storage.rows import COLUMNS
from tests.link.journal_examples import journal_records


@given(st.lists(journal_records, max_size=4))
def test_json_lines_and_cells_are_what_was_recorded(found):
    rows = [[*(getattr(record, name) for name in JournalRecord.__struct_fields__), 7] for record in found]
    lines = [json.loads(line) for line in encode_jsonl(rows).splitlines()]
    assert [line.pop("cost") for line in lines] == [7] * len(found)
    assert [JournalRecord(**line) for line in lines] == found
    read = list(csv.DictReader(io.StringIO((CSV_HEAD + encode_csv(rows)).decode(), newline="")))
    assert [row["model"].removeprefix("'") for row in read] == [record.model.removeprefix("'") for record in found]


@given(st.text(st.characters(codec="utf-8"), max_size=5), st.sampled_from("=+-@\t\r"))
def test_no_text_is_a_formula(text, first):
    assert cell(first + text) == f"'{first}{text}"


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), (True, "true"), (False, "false"), (-5, -5), ("a=b", "a=b"), ("", "")]
)
def test_other_cells_are_plain(value, expected):
    assert cell(value) == expected


def test_what_is_shown_is_in_the_table():
    assert set(FIELDS) <= set(COLUMNS)
    assert CSV_HEAD.decode() == ",".join(FIELDS) + "\r\n"
