"""A record as llmlb shows it."""

import csv
import io
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.admin.records import record_shown
from mrproxy.control.llmlb.history_shapes import (
    CSV_COLUMNS,
    RecordShown,
    body_shown,
    csv_of,
    shown,
    status_of,
    with_bodies,
)
from mrproxy.storage.bodies import StoredBodies
from mrproxy.storage.rows import row_of
from tests.control.llmlb.records import made
from tests.control.llmlb.test_endpoint_shapes import known


def one(**fields: object) -> RecordShown:
    row = row_of(made(0, **fields), 0.0)
    return shown(record_shown((*row[:-2], row[-1])), {"gpu-a": known()})


def test_a_record_has_the_same_endpoint_under_three_names() -> None:
    record = one()
    for word in ("node", "endpoint", "runtime"):
        assert (getattr(record, f"{word}_id"), getattr(record, f"{word}_ip")) == ("u-1", "10.0.0.1")
    assert record.node_machine_name == record.endpoint_name == record.runtime_machine_name == "gpu-a"
    assert (record.duration_ms, record.total_tokens, record.status.type) == (500, 10, "success")
    assert record.completed_at.timestamp() - record.timestamp.timestamp() == pytest.approx(0.5)


def test_an_endpoint_that_is_gone_has_its_name() -> None:
    record = one(backend="gone", prompt_tokens=None, completion_tokens=None)
    assert (record.node_id, record.node_ip, record.total_tokens) == ("gone", "", None)


@pytest.mark.parametrize(
    ("operation", "word"),
    [
        ("chat", "chat"),
        ("completions", "generate"),
        ("messages", "anthropic_messages"),
        ("image_edits", "imageedit"),
        ("rerank", "rerank"),
    ],
)
def test_operations_have_their_words(operation: str, word: str) -> None:
    assert one(operation=operation).request_type == word


def test_good_is_what_ended_well() -> None:
    assert msgspec.to_builtins(status_of(200, "")) == {"type": "success"}
    assert msgspec.to_builtins(status_of(200, "cut")) == {"type": "error", "message": "HTTP 200: cut"}
    assert msgspec.to_builtins(status_of(503, "")) == {"type": "error", "message": "HTTP 503"}


def test_bodies_are_json_where_they_are() -> None:
    stored = StoredBodies("r-0", 0.0, "ada", b'{"a": 1}', False, b"data: x\n\n", False)
    found = json.loads(msgspec.json.encode(with_bodies(one(), stored)))
    assert (found["request_body"], found["response_body"]) == ({"a": 1}, "data: x\n\n")
    bare = json.loads(msgspec.json.encode(with_bodies(one(), None)))
    assert bare["request_body"] is bare["response_body"] is None


@given(st.binary())
def test_whatever_was_kept_can_be_shown(body: bytes) -> None:
    json.loads(msgspec.json.encode([body_shown(body)]))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_line_of_csv_is_one_line_of_eleven_cells(model: str) -> None:
    record = one(model=model[:50], status=500, code="broken")
    (line,) = csv.reader(io.StringIO(csv_of([record]).decode(), newline=""))
    assert len(line) == len(CSV_COLUMNS)
    assert line[CSV_COLUMNS.index("status")] == "error: HTTP 500: broken"
    assert not line[CSV_COLUMNS.index("model")].startswith(("=", "+", "-", "@"))
