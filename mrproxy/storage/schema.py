"""Pure. The tables, once for SQLite and PostgreSQL: what the newest migration leads to.

Rules, so that a version and its successor can work on one database at a time:
1. A migration only adds: tables, columns that may be null or have a server default, indexes. What nobody uses any more
   is removed one release after the last version that used it.
2. Every statement names its columns; nobody relies on their order or number.
3. Types are those that both databases have: moments are seconds since 1970 in double precision, as in the journal;
   text has no length; a primary key of our own is a 64-bit number, and in SQLite therefore INTEGER, which is the rowid.

A change here needs a revision in `migrations/versions`; a test compares the two.
Here are the records of requests. Read next: `schema_people.py` and `schema_control.py`, the other tables; `migrate.py`;
for the meaning of a record's fields, docs/journal.md.
"""

from sqlalchemy import BigInteger, Boolean, Column, Double, Identity, Index, Integer, Table, Text

# Imported for `metadata` to be complete, whoever asks for it.
from mrproxy.storage import schema_control, schema_people
from mrproxy.storage.schema_base import RowId, metadata

__all__ = ["ingest_positions", "metadata", "records", "schema_control", "schema_people"]

# Each request's record, out of the journal (`mrproxy/link/records.py`, field by field).
records = Table(
    "records",
    metadata,
    Column("id", RowId, Identity(), primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("started_utc", Double, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("group", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("backend", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("status", Integer, nullable=False),
    Column("code", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("queue_seconds", Double, nullable=False),
    Column("first_byte_seconds", Double),
    Column("total_seconds", Double, nullable=False),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("usage_state", Text, nullable=False),
    Column("bytes_in", BigInteger, nullable=False),
    Column("bytes_out", BigInteger, nullable=False),
    Column("client_address", Text, nullable=False),
    Column("charged_tokens", BigInteger),  # what it took of budgets; null: the tokens as they are
    Column("traceparent", Text),
    Column("ingested_utc", Double, nullable=False),
    Column("cost", BigInteger),  # millionths of the currency; null: the model has no price
)

# Lists are read newest first, by one criterion or by none; so each index goes on with the time.
Index(None, records.c.started_utc)
Index(None, records.c.user, records.c.started_utc)
Index(None, records.c.key_id, records.c.started_utc)
Index(None, records.c.model, records.c.started_utc)
Index(None, records.c.backend, records.c.started_utc)
Index(None, records.c.status, records.c.started_utc)
Index(None, records.c.request_id)

# How far each worker's journal has been taken over: written in the transaction that inserts the records.
ingest_positions = Table(
    "ingest_positions",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("byte_offset", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False),
)
