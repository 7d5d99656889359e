"""Pure. The tables, once for SQLite and PostgreSQL: what the newest migration leads to.

Rules, so that a version and its successor can work on one database at a time:
1. A migration only adds: tables, columns that may be null or have a server default, indexes. What nobody uses any more
   is removed one release after the last version that used it.
2. Every statement names its columns; nobody relies on their order or number.
3. Types are those that both databases have: moments are seconds since 1970 in double precision, as in the journal;
   text has no length; a primary key of our own is a 64-bit number, and in SQLite therefore INTEGER, which is the rowid.

A change here needs a revision in `migrations/versions`; a test compares the two.
Read next: `migrate.py`; for the meaning of a record's fields, docs/journal.md.
"""

from sqlalchemy import BigInteger, Boolean, Column, Double, Identity, Index, Integer, MetaData, Table, Text

# Names that Alembic can refer to later; without them each database makes up its own.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMES)

# SQLite numbers rows by itself only where the type is exactly INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")

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
    Column("ingested_utc", Double, nullable=False),
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
