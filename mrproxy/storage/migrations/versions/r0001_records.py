"""Shell. Records of requests, and how far each worker's journal has been taken over."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "records",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("started_utc", sa.Double, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("group", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("backend", sa.Text, nullable=False),
        sa.Column("dialect", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("queue_seconds", sa.Double, nullable=False),
        sa.Column("first_byte_seconds", sa.Double),
        sa.Column("total_seconds", sa.Double, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger),
        sa.Column("completion_tokens", sa.BigInteger),
        sa.Column("usage_state", sa.Text, nullable=False),
        sa.Column("bytes_in", sa.BigInteger, nullable=False),
        sa.Column("bytes_out", sa.BigInteger, nullable=False),
        sa.Column("client_address", sa.Text, nullable=False),
        sa.Column("ingested_utc", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_records"),
    )
    for column in ("user", "key_id", "model", "backend", "status"):
        op.create_index(f"ix_records_{column}_started_utc", "records", [column, "started_utc"])
    op.create_index("ix_records_started_utc", "records", ["started_utc"])
    op.create_index("ix_records_request_id", "records", ["request_id"])
    op.create_table(
        "ingest_positions",
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("byte_offset", sa.BigInteger, nullable=False),
        sa.Column("records", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("worker", name="pk_ingest_positions"),
    )
