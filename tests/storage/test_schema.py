"""The tables hold what the journal says, and can be migrated without stopping anybody."""

import pytest
from sqlalchemy import Identity
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from mrproxy.link.records import JournalRecord
from mrproxy.storage.schema import ingest_positions, metadata, records


def test_a_record_has_every_field_of_the_journal():
    fields = ["id", *JournalRecord.__struct_fields__, "ingested_utc", "cost"]
    assert [column.name for column in records.columns] == fields


def test_what_the_journal_leaves_open_may_be_null_and_nothing_else():
    nullable = {column.name for column in records.columns if column.nullable}
    assert nullable == {
        "first_byte_seconds", "prompt_tokens", "completion_tokens", "charged_tokens", "traceparent", "cost"
    }  # fmt: skip


def test_positions_are_those_of_the_journal():
    assert [column.name for column in ingest_positions.primary_key] == ["worker"]


@pytest.mark.parametrize("column", ["started_utc", "user", "key_id", "model", "backend", "status", "request_id"])
def test_what_is_searched_for_has_an_index(column):
    assert any(next(iter(index.columns)).name == column for index in records.indexes)


def test_rows_are_numbered_by_either_database():
    assert "id INTEGER NOT NULL" in str(CreateTable(records).compile(dialect=sqlite.dialect()))
    assert "id BIGINT GENERATED" in str(CreateTable(records).compile(dialect=postgresql.dialect()))
    assert isinstance(records.c.id.identity, Identity)


def test_every_constraint_and_index_has_a_name_that_a_migration_can_use():
    for table in metadata.tables.values():
        assert all(each.name for each in (*table.constraints, *table.indexes))
