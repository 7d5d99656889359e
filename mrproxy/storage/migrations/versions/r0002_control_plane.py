"""Shell. People, keys, sessions; backends, models; audit log, usage, bodies, stored responses, conversations."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _audit_log()
    _backends()
    _bodies()
    _conversation_items()
    _conversations()
    _facts()
    _groups()
    _idempotency()
    _models()
    _nodes()
    _stored_responses()
    _usage_daily()
    _users()
    _api_keys()
    _identities()
    _invitations()
    _quota_requests()
    _sessions()
    _records()
    _sum_up_usage()


def _audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("at_utc", sa.Double(), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("entity_kind", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column("request_id", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_actor_id", "audit_log", ["actor", "id"], unique=False)
    op.create_index("ix_audit_log_at_utc", "audit_log", ["at_utc"], unique=False)
    op.create_index("ix_audit_log_entity_kind_entity_id", "audit_log", ["entity_kind", "entity", "id"], unique=False)


def _backends() -> None:
    op.create_table(
        "backends",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("api_key_encrypted", sa.Text(), nullable=True),
        sa.Column("max_concurrent", sa.Integer(), nullable=True),
        sa.Column("models", sa.Text(), nullable=True),
        sa.Column("aliases", sa.Text(), nullable=True),
        sa.Column("num_ctx", sa.Integer(), nullable=True),
        sa.Column("num_ctx_of", sa.Text(), nullable=True),
        sa.Column("capabilities", sa.Text(), nullable=True),
        sa.Column("gpu_indices", sa.Text(), nullable=True),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("notes", sa.Text(), server_default="", nullable=False),
        sa.Column("node_id", sa.BigInteger(), nullable=True),
        sa.Column("gpu_memory_gb", sa.Double(), nullable=True),
        sa.Column("gpu_type", sa.Text(), nullable=True),
        sa.Column("health_check_interval_seconds", sa.Double(), nullable=True),
        sa.Column("inference_timeout_seconds", sa.Double(), nullable=True),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.Column("updated_utc", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_backends"),
        sa.UniqueConstraint("name", name="uq_backends_name"),
        sa.UniqueConstraint("url", name="uq_backends_url"),
        sa.UniqueConstraint("uuid", name="uq_backends_uuid"),
    )


def _bodies() -> None:
    op.create_table(
        "bodies",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("started_utc", sa.Double(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("request_truncated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("answer_truncated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bodies"),
    )
    op.create_index("ix_bodies_request_id", "bodies", ["request_id"], unique=False)
    op.create_index("ix_bodies_started_utc", "bodies", ["started_utc"], unique=False)


def _conversation_items() -> None:
    op.create_table(
        "conversation_items",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversation_items"),
    )
    op.create_index(
        "ix_conversation_items_conversation_id_position",
        "conversation_items",
        ["conversation_id", "position"],
        unique=True,
    )


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), server_default="{}", nullable=False),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.Column("updated_utc", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    op.create_index("ix_conversations_owner_created_utc", "conversations", ["owner", "created_utc"], unique=False)


def _facts() -> None:
    op.create_table(
        "facts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_facts"),
    )


def _groups() -> None:
    op.create_table(
        "groups",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), server_default="", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("weight", sa.Integer(), server_default="1", nullable=False),
        sa.Column("is_admin", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_auditor", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("models", sa.Text(), nullable=True),
        sa.Column("max_keys", sa.Integer(), nullable=True),
        sa.Column("key_days", sa.Integer(), nullable=True),
        sa.Column("captures_bodies", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("requests_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("tokens_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("concurrent_requests", sa.BigInteger(), nullable=True),
        sa.Column("token_budget", sa.BigInteger(), nullable=True),
        sa.Column("budget_period", sa.Text(), server_default="lifetime", nullable=False),
        sa.Column("shared_requests_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("shared_tokens_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("shared_concurrent_requests", sa.BigInteger(), nullable=True),
        sa.Column("shared_token_budget", sa.BigInteger(), nullable=True),
        sa.Column("shared_budget_period", sa.Text(), server_default="lifetime", nullable=False),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.Column("updated_utc", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_groups"),
        sa.UniqueConstraint("name", name="uq_groups_name"),
    )


def _idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("location", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_created_utc", "idempotency", ["created_utc"], unique=False)


def _models() -> None:
    op.create_table(
        "models",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("budget_weight", sa.Double(), server_default="1", nullable=False),
        sa.Column("prompt_price", sa.BigInteger(), nullable=True),
        sa.Column("completion_price", sa.BigInteger(), nullable=True),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.Column("updated_utc", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_models"),
    )


def _nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=True),
        sa.Column("sidecar_url", sa.Text(), nullable=True),
        sa.Column("sidecar_key_encrypted", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="unknown", nullable=False),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.Column("updated_utc", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
        sa.UniqueConstraint("name", name="uq_nodes_name"),
    )


def _stored_responses() -> None:
    op.create_table(
        "stored_responses",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("previous_id", sa.Text(), nullable=True),
        sa.Column("conversation_id", sa.Text(), nullable=True),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.Column("expires_utc", sa.Double(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stored_responses"),
    )
    op.create_index("ix_stored_responses_expires_utc", "stored_responses", ["expires_utc"], unique=False)
    op.create_index("ix_stored_responses_owner_created_utc", "stored_responses", ["owner", "created_utc"], unique=False)
    op.create_index("ix_stored_responses_previous_id", "stored_responses", ["previous_id"], unique=False)


def _usage_daily() -> None:
    op.create_table(
        "usage_daily",
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("charged_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("total_seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("day", "user", "key_id", "group", "model", "backend", name="pk_usage_daily"),
    )
    op.create_index("ix_usage_daily_key_id_day", "usage_daily", ["key_id", "day"], unique=False)
    op.create_index("ix_usage_daily_user_day", "usage_daily", ["user", "day"], unique=False)


def _users() -> None:
    op.create_table(
        "users",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_folded", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("full_name", sa.Text(), server_default="", nullable=False),
        sa.Column("college", sa.Text(), server_default="", nullable=False),
        sa.Column("department", sa.Text(), server_default="", nullable=False),
        sa.Column("intended_use", sa.Text(), server_default="", nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=True),
        sa.Column("models", sa.Text(), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("must_change_password", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("failed_logins", sa.Integer(), server_default="0", nullable=False),
        sa.Column("locked_until_utc", sa.Double(), nullable=True),
        sa.Column("last_login_utc", sa.Double(), nullable=True),
        sa.Column("requests_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("tokens_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("concurrent_requests", sa.BigInteger(), nullable=True),
        sa.Column("token_budget", sa.BigInteger(), nullable=True),
        sa.Column("budget_period", sa.Text(), server_default="lifetime", nullable=False),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.Column("updated_utc", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_users_group_id_groups"),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("name_folded", name="uq_users_name_folded"),
        sa.UniqueConstraint("uuid", name="uq_users_uuid"),
    )
    op.create_index("ix_users_email", "users", ["email"], unique=False)
    op.create_index("ix_users_group_id", "users", ["group_id"], unique=False)


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("group_id", sa.BigInteger(), nullable=True),
        sa.Column("scopes", sa.Text(), server_default='["inference"]', nullable=False),
        sa.Column("models", sa.Text(), nullable=True),
        sa.Column("addresses", sa.Text(), nullable=True),
        sa.Column("expires_utc", sa.Double(), nullable=True),
        sa.Column("revoked_utc", sa.Double(), nullable=True),
        sa.Column("last_used_utc", sa.Double(), nullable=True),
        sa.Column("replaced_by", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("requests_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("tokens_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("concurrent_requests", sa.BigInteger(), nullable=True),
        sa.Column("token_budget", sa.BigInteger(), nullable=True),
        sa.Column("budget_period", sa.Text(), server_default="lifetime", nullable=False),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.Column("updated_utc", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_api_keys_group_id_groups"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_api_keys_user_id_users"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
        sa.UniqueConstraint("key_id", name="uq_api_keys_key_id"),
    )
    op.create_index("ix_api_keys_user_id", "api_keys", ["user_id"], unique=False)


def _identities() -> None:
    op.create_table(
        "identities",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_identities_user_id_users"),
        sa.PrimaryKeyConstraint("id", name="pk_identities"),
    )
    op.create_index("ix_identities_issuer_subject", "identities", ["issuer", "subject"], unique=True)
    op.create_index("ix_identities_user_id", "identities", ["user_id"], unique=False)


def _invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.Column("expires_utc", sa.Double(), nullable=False),
        sa.Column("used_utc", sa.Double(), nullable=True),
        sa.Column("used_by", sa.BigInteger(), nullable=True),
        sa.Column("revoked_utc", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_invitations_group_id_groups"),
        sa.ForeignKeyConstraint(["used_by"], ["users.id"], name="fk_invitations_used_by_users"),
        sa.PrimaryKeyConstraint("id", name="pk_invitations"),
        sa.UniqueConstraint("digest", name="uq_invitations_digest"),
        sa.UniqueConstraint("uuid", name="uq_invitations_uuid"),
    )


def _quota_requests() -> None:
    op.create_table(
        "quota_requests",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("justification", sa.Text(), server_default="", nullable=False),
        sa.Column("requested_tokens", sa.BigInteger(), nullable=True),
        sa.Column("requested_requests_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("granted_tokens", sa.BigInteger(), nullable=True),
        sa.Column("granted_requests_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("reviewed_by", sa.Text(), nullable=True),
        sa.Column("reviewed_utc", sa.Double(), nullable=True),
        sa.Column("review_notes", sa.Text(), server_default="", nullable=False),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.Column("updated_utc", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_quota_requests_user_id_users"),
        sa.PrimaryKeyConstraint("id", name="pk_quota_requests"),
    )
    op.create_index("ix_quota_requests_status_id", "quota_requests", ["status", "id"], unique=False)
    op.create_index("ix_quota_requests_user_id", "quota_requests", ["user_id"], unique=False)


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_utc", sa.Double(), nullable=False),
        sa.Column("seen_utc", sa.Double(), nullable=False),
        sa.Column("expires_utc", sa.Double(), nullable=False),
        sa.Column("revoked_utc", sa.Double(), nullable=True),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column("user_agent", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_sessions_user_id_users"),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
    )
    op.create_index("ix_sessions_expires_utc", "sessions", ["expires_utc"], unique=False)
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"], unique=False)


def _records() -> None:
    op.add_column("records", sa.Column("charged_tokens", sa.BigInteger(), nullable=True))
    op.add_column("records", sa.Column("cost", sa.BigInteger(), nullable=True))
    op.add_column("records", sa.Column("traceparent", sa.Text(), nullable=True))


# Sums of usage begin with what is there. As `mrproxy/storage/usage.py` adds up, bounds included, so that no record of
# old, however strange, holds the migration up.
_SUM_UP = """
INSERT INTO usage_daily (day, "user", key_id, "group", model, backend,
                         requests, errors, prompt_tokens, completion_tokens, charged_tokens, cost, total_seconds)
SELECT day, "user", key_id, "group", model, backend, count(*), sum(is_error), sum(prompt), sum(completion),
       sum(prompt + completion), 0, sum(seconds)
FROM (
    SELECT {day} AS day, substr("user", 1, 100) AS "user", substr(key_id, 1, 100) AS key_id,
           substr("group", 1, 100) AS "group", substr(model, 1, 100) AS model, substr(backend, 1, 100) AS backend,
           CASE WHEN status >= 400 OR code <> '' THEN 1 ELSE 0 END AS is_error,
           CASE WHEN prompt_tokens BETWEEN 0 AND 1000000000000 THEN prompt_tokens ELSE 0 END AS prompt,
           CASE WHEN completion_tokens BETWEEN 0 AND 1000000000000 THEN completion_tokens ELSE 0 END AS completion,
           CASE WHEN total_seconds BETWEEN 0 AND 1e9 THEN total_seconds ELSE 0 END AS seconds
    FROM (
        SELECT *, CASE WHEN started_utc BETWEEN 0 AND 253402300799 THEN started_utc ELSE 0 END AS moment FROM records
    ) AS dated
) AS counted
GROUP BY day, "user", key_id, "group", model, backend
"""
_DAYS = {
    "sqlite": "strftime('%Y-%m-%d', moment, 'unixepoch')",
    "postgresql": "to_char(to_timestamp(moment) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
}


def _sum_up_usage() -> None:
    op.get_bind().exec_driver_sql(_SUM_UP.format(day=_DAYS[op.get_bind().dialect.name]))
