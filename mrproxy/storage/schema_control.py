"""Pure. Tables of what is administered and counted: backends, nodes, models, the audit log, usage, bodies, responses.

Usage is summed up in the transaction that takes the records over, so the two always agree. Money is in millionths of
the currency that prices are in. Read next: `schema.py`, for the rules.
"""

from sqlalchemy import BigInteger, Boolean, Column, Double, Identity, Index, Integer, LargeBinary, Table, Text

from mrproxy.storage.schema_base import RowId, metadata
from mrproxy.storage.schema_people import FALSE, TRUE, change_columns

# Backends that were added by the API. Those of the configuration file are not here.
backends = Table(
    "backends",
    metadata,
    Column("id", RowId, Identity(), primary_key=True),
    Column("uuid", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("url", Text, nullable=False, unique=True),
    Column("api_key_encrypted", Text),  # under the data directory's secret (Fernet)
    Column("max_concurrent", Integer),
    Column("models", Text),  # JSON, as the four below
    Column("aliases", Text),
    Column("num_ctx", Integer),
    Column("num_ctx_of", Text),
    Column("capabilities", Text),
    Column("gpu_indices", Text),
    Column("is_enabled", Boolean, nullable=False, server_default=TRUE),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("notes", Text, nullable=False, server_default=""),
    Column("node_id", BigInteger),
    Column("gpu_memory_gb", Double),
    Column("gpu_type", Text),
    Column("health_check_interval_seconds", Double),
    Column("inference_timeout_seconds", Double),
    *change_columns(),
)

# Machines with GPUs. `status`: online, offline, or unknown while nobody has asked the sidecar.
nodes = Table(
    "nodes",
    metadata,
    Column("id", RowId, Identity(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("hostname", Text),
    Column("sidecar_url", Text),
    Column("sidecar_key_encrypted", Text),  # as a backend's
    Column("status", Text, nullable=False, server_default="unknown"),
    *change_columns(),
)

# What is known of a model beside where it runs.
models = Table(
    "models",
    metadata,
    Column("name", Text, primary_key=True),
    Column("budget_weight", Double, nullable=False, server_default="1"),  # tokens of a budget per token
    Column("prompt_price", BigInteger),  # millionths of the currency per million tokens
    Column("completion_price", BigInteger),
    Column("description", Text, nullable=False, server_default=""),
    *change_columns(),
)

# Every administrative action. `hash` covers the row and the `hash` before it.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at_utc", Double, nullable=False),
    Column("actor_kind", Text, nullable=False),  # user, key, local (the data directory's owner), system, anonymous
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("entity_kind", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("before", Text),  # JSON, without secrets
    Column("after", Text),
    Column("address", Text, nullable=False, server_default=""),
    Column("request_id", Text, nullable=False, server_default=""),
    Column("detail", Text, nullable=False, server_default=""),
    Column("hash", Text, nullable=False),
)
Index(None, audit_log.c.at_utc)
Index(None, audit_log.c.actor, audit_log.c.id)
Index(None, audit_log.c.entity_kind, audit_log.c.entity, audit_log.c.id)

# Answers to requests that came with an idempotency key.
idempotency = Table(
    "idempotency",
    metadata,
    Column("key", Text, primary_key=True),  # a digest of the actor, the route and the key
    Column("fingerprint", Text, nullable=False),  # of the body
    Column("created_utc", Double, nullable=False),
    Column("status", Integer),  # null: it runs, or was cut off
    Column("body", Text),
    Column("location", Text),
)
Index(None, idempotency.c.created_utc)

# Sums by day (UTC, `YYYY-MM-DD`).
usage_daily = Table(
    "usage_daily",
    metadata,
    Column("day", Text, primary_key=True),
    Column("user", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("group", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("backend", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("charged_tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("total_seconds", Double, nullable=False),
)
Index(None, usage_daily.c.user, usage_daily.c.day)
Index(None, usage_daily.c.key_id, usage_daily.c.day)

# Prompts and answers, where the policy keeps them; zlib.
bodies = Table(
    "bodies",
    metadata,
    Column("id", RowId, Identity(), primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("started_utc", Double, nullable=False),
    Column("user", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("request_truncated", Boolean, nullable=False, server_default=FALSE),
    Column("answer", LargeBinary, nullable=False),
    Column("answer_truncated", Boolean, nullable=False, server_default=FALSE),
)
Index(None, bodies.c.request_id)
Index(None, bodies.c.started_utc)

# Stored responses of the Responses API, and its conversations. `owner` is the flow that may read them.
stored_responses = Table(
    "stored_responses",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("previous_id", Text),
    Column("conversation_id", Text),
    Column("created_utc", Double, nullable=False),
    Column("expires_utc", Double, nullable=False),
    Column("state", LargeBinary, nullable=False),
)
Index(None, stored_responses.c.owner, stored_responses.c.created_utc)
Index(None, stored_responses.c.expires_utc)
Index(None, stored_responses.c.previous_id)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("metadata", Text, nullable=False, server_default="{}"),
    Column("created_utc", Double, nullable=False),
    Column("updated_utc", Double, nullable=False),
)
Index(None, conversations.c.owner, conversations.c.created_utc)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("id", Text, primary_key=True),
    Column("conversation_id", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("item", Text, nullable=False),
    Column("created_utc", Double, nullable=False),
)
Index(None, conversation_items.c.conversation_id, conversation_items.c.position, unique=True)

# What was decided once for this database, and how far small things have come.
facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
