"""Rows for the driver. That they arrive in both databases: test_ingest.py and test_bodies.py."""

from mrproxy.storage.bulk_insert import BulkInsert
from mrproxy.storage.rows import COLUMNS
from mrproxy.storage.schema import records


def test_the_statement_for_sqlite_names_the_columns_in_their_order():
    statement = BulkInsert(records, COLUMNS).statement
    names = statement.partition("(")[2].partition(")")[0].replace('"', "").split(", ")
    assert tuple(names) == COLUMNS
    assert set(COLUMNS) | {"id"} == set(records.c.keys())
