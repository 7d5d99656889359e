"""Pure. Tables of who may do what: groups, users, their identities elsewhere, keys, sessions, invitations.

Limits stand in four columns wherever they stand; null is unlimited, and for a user: what the group says. A budget is
per month or for a lifetime (`budget_period`). `shared_*` of a group are one pot for all its members.

`version` counts an entity's changes: it is its ETag. Names are compared as they are written, but no two users differ in
case only (`name_folded`). Nothing here is a secret in clear: passwords and keys are Argon2id, digests are keyed.
Read next: `schema.py`, for the rules.
"""

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Identity, Index, Integer, Table, Text, text

from mrproxy.storage.schema_base import RowId, metadata

TRUE, FALSE = text("true"), text("false")


def limit_columns(prefix: str = "") -> list[Column[object]]:
    """The four limits and the budget's period."""
    names = ("requests_per_minute", "tokens_per_minute", "concurrent_requests", "token_budget")
    columns: list[Column[object]] = [Column(f"{prefix}{name}", BigInteger) for name in names]
    return [*columns, Column(f"{prefix}budget_period", Text, nullable=False, server_default="lifetime")]


def change_columns() -> list[Column[object]]:
    return [
        Column("created_utc", Double, nullable=False),
        Column("updated_utc", Double, nullable=False),
        Column("version", Integer, nullable=False, server_default="1"),
    ]


groups = Table(
    "groups",
    metadata,
    Column("id", RowId, Identity(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("display_name", Text, nullable=False, server_default=""),
    Column("description", Text, nullable=False, server_default=""),
    Column("weight", Integer, nullable=False, server_default="1"),
    Column("is_admin", Boolean, nullable=False, server_default=FALSE),
    Column("is_auditor", Boolean, nullable=False, server_default=FALSE),
    Column("models", Text),  # a JSON list of names; null allows all
    Column("max_keys", Integer),  # that a member may make for itself
    Column("key_days", Integer),  # a member's keys live no longer
    Column("captures_bodies", Boolean, nullable=False, server_default=FALSE),
    *limit_columns(),
    *limit_columns("shared_"),
    *change_columns(),
)

users = Table(
    "users",
    metadata,
    Column("id", RowId, Identity(), primary_key=True),
    Column("uuid", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("name_folded", Text, nullable=False, unique=True),
    Column("email", Text),
    Column("full_name", Text, nullable=False, server_default=""),
    Column("college", Text, nullable=False, server_default=""),
    Column("department", Text, nullable=False, server_default=""),
    Column("intended_use", Text, nullable=False, server_default=""),
    Column("group_id", BigInteger, ForeignKey("groups.id"), nullable=False),
    Column("weight", Integer),
    Column("models", Text),
    Column("password_hash", Text),  # null: signs in elsewhere, or not at all
    Column("must_change_password", Boolean, nullable=False, server_default=FALSE),
    Column("is_active", Boolean, nullable=False, server_default=TRUE),
    Column("failed_logins", Integer, nullable=False, server_default="0"),
    Column("locked_until_utc", Double),
    Column("last_login_utc", Double),
    *limit_columns(),
    *change_columns(),
)
Index(None, users.c.group_id)
Index(None, users.c.email)

# Who a user is at an OpenID Connect provider.
identities = Table(
    "identities",
    metadata,
    Column("id", RowId, Identity(), primary_key=True),
    Column("user_id", BigInteger, ForeignKey("users.id"), nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("email", Text),
    Column("created_utc", Double, nullable=False),
)
Index(None, identities.c.issuer, identities.c.subject, unique=True)
Index(None, identities.c.user_id)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", RowId, Identity(), primary_key=True),
    Column("key_id", Text, nullable=False, unique=True),  # twelve digits of the digest: what journal and metrics say
    Column("digest", Text, nullable=False, unique=True),
    Column("hash", Text),  # Argon2id; null for a key of which only the digest is known
    Column("prefix", Text, nullable=False),  # its first characters, to be recognised by
    Column("name", Text, nullable=False),
    Column("user_id", BigInteger, ForeignKey("users.id")),  # null: a service key, a flow of its own
    Column("group_id", BigInteger, ForeignKey("groups.id")),  # of a service key
    Column("scopes", Text, nullable=False, server_default='["inference"]'),  # a JSON list
    Column("models", Text),
    Column("addresses", Text),  # a JSON list of networks (CIDR); null is from anywhere
    Column("expires_utc", Double),
    Column("revoked_utc", Double),
    Column("last_used_utc", Double),
    Column("replaced_by", Text),  # key_id of what took over when it was rotated
    Column("created_by", Text, nullable=False, server_default=""),
    *limit_columns(),
    *change_columns(),
)
Index(None, api_keys.c.user_id)

# Browsers and `/v0/auth` tokens that are signed in. `id` is a digest of what the cookie or token holds.
sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", BigInteger, ForeignKey("users.id"), nullable=False),
    Column("kind", Text, nullable=False),  # cookie or token
    Column("created_utc", Double, nullable=False),
    Column("seen_utc", Double, nullable=False),
    Column("expires_utc", Double, nullable=False),
    Column("revoked_utc", Double),
    Column("address", Text, nullable=False, server_default=""),
    Column("user_agent", Text, nullable=False, server_default=""),
)
Index(None, sessions.c.user_id)
Index(None, sessions.c.expires_utc)

invitations = Table(
    "invitations",
    metadata,
    Column("id", RowId, Identity(), primary_key=True),
    Column("uuid", Text, nullable=False, unique=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("prefix", Text, nullable=False),
    Column("group_id", BigInteger, ForeignKey("groups.id"), nullable=False),
    Column("email", Text),
    Column("created_by", Text, nullable=False),
    Column("created_utc", Double, nullable=False),
    Column("expires_utc", Double, nullable=False),
    Column("used_utc", Double),
    Column("used_by", BigInteger, ForeignKey("users.id")),
    Column("revoked_utc", Double),
)

quota_requests = Table(
    "quota_requests",
    metadata,
    Column("id", RowId, Identity(), primary_key=True),
    Column("user_id", BigInteger, ForeignKey("users.id"), nullable=False),
    Column("justification", Text, nullable=False, server_default=""),
    Column("requested_tokens", BigInteger),
    Column("requested_requests_per_minute", BigInteger),
    Column("status", Text, nullable=False, server_default="pending"),  # pending, approved, denied
    Column("granted_tokens", BigInteger),
    Column("granted_requests_per_minute", BigInteger),
    Column("reviewed_by", Text),
    Column("reviewed_utc", Double),
    Column("review_notes", Text, nullable=False, server_default=""),
    *change_columns(),
)
Index(None, quota_requests.c.status, quota_requests.c.id)
Index(None, quota_requests.c.user_id)
