"""Pure. Who may do what: one table of roles and one of keys' scopes; an endpoint names the one permission it needs.

    allowed = union of GRANTS over the actor's roles
              ∩ union of SCOPES over its key's scopes   (a browser session or the directory's owner has no scopes)
              ∩ WITH_PASSWORD_DUE                       (while a new password must be chosen)

Scopes only take away: a member's key with scope `admin` may what the member may. What anonymous callers may, everybody
may. The words of other systems for scopes stand in the same table, so that keys made there mean the same here.
Read next: `api/endpoint.py`, where they are named; tests/control/test_permissions.py, where every route is expected.
"""

import enum
from collections.abc import Iterable


class Permission(enum.Enum):
    """A thing to be allowed, not a route: several routes, of several systems, need the same."""

    PUBLIC = "public"  # status, documentation
    SIGN_IN = "sign-in"

    OWN_PROFILE_READ = "own-profile.read"
    OWN_PROFILE_WRITE = "own-profile.write"
    OWN_PASSWORD = "own-password"
    OWN_SESSIONS = "own-sessions"
    OWN_KEYS_READ = "own-keys.read"
    OWN_KEYS_WRITE = "own-keys.write"
    OWN_QUOTA_READ = "own-quota.read"
    OWN_QUOTA_WRITE = "own-quota.write"
    OWN_USAGE_READ = "own-usage.read"
    OWN_RECORDS_READ = "own-records.read"
    MODELS_LIST = "models.list"  # which there are, as any caller of /v1/models may know
    INFERENCE = "inference"  # ask a model, from a page

    USERS_READ = "users.read"
    USERS_WRITE = "users.write"
    GROUPS_READ = "groups.read"
    GROUPS_WRITE = "groups.write"
    KEYS_READ = "keys.read"
    KEYS_WRITE = "keys.write"
    INVITATIONS_READ = "invitations.read"
    INVITATIONS_WRITE = "invitations.write"
    QUOTA_READ = "quota.read"
    QUOTA_REVIEW = "quota.review"
    SESSIONS_READ = "sessions.read"
    SESSIONS_WRITE = "sessions.write"
    BACKENDS_READ = "backends.read"
    BACKENDS_WRITE = "backends.write"
    MODELS_READ = "models.read"
    MODELS_WRITE = "models.write"
    NODES_READ = "nodes.read"
    NODES_WRITE = "nodes.write"
    QUEUE_READ = "queue.read"
    SETTINGS_READ = "settings.read"
    AUDIT_READ = "audit.read"
    USAGE_READ = "usage.read"
    RECORDS_READ = "records.read"  # requests without their content
    BODIES_READ = "bodies.read"  # prompts and answers
    LOGS_READ = "logs.read"


class Role(enum.Enum):
    """What a user's group makes of it. An administrator and an auditor are members as well."""

    ADMIN = "admin"
    AUDITOR = "auditor"
    MEMBER = "member"
    ANONYMOUS = "anonymous"


P = Permission
ALL = frozenset(Permission)
_OWN = frozenset(each for each in Permission if each.value.startswith("own-"))
_READING = frozenset(each for each in Permission if each.value.endswith(".read"))
_ANONYMOUS = frozenset({P.PUBLIC, P.SIGN_IN})
_MEMBER = _ANONYMOUS | _OWN | {P.MODELS_LIST, P.INFERENCE}

GRANTS: dict[Role, frozenset[Permission]] = {
    Role.ADMIN: ALL,
    Role.AUDITOR: _MEMBER | _READING,
    Role.MEMBER: _MEMBER,
    Role.ANONYMOUS: _ANONYMOUS,
}

_INFERENCE = frozenset({P.INFERENCE, P.MODELS_LIST, P.OWN_USAGE_READ})
# What a key may that is for asking models and nothing else.
ASKING = _ANONYMOUS | _INFERENCE

SCOPES: dict[str, frozenset[Permission]] = {
    "inference": _INFERENCE,
    "read": _READING | {P.MODELS_LIST},
    "own": _OWN | {P.MODELS_LIST},
    "admin": ALL,
    # llmlb, today's words
    "openai.inference": frozenset({P.INFERENCE}),
    "openai.models.read": frozenset({P.MODELS_LIST}),
    "endpoints.read": frozenset({P.BACKENDS_READ, P.NODES_READ}),
    "endpoints.manage": frozenset({P.BACKENDS_WRITE, P.NODES_WRITE}),
    "api_keys.manage": frozenset({P.KEYS_READ, P.KEYS_WRITE, P.OWN_KEYS_READ, P.OWN_KEYS_WRITE}),
    "users.manage": frozenset({P.USERS_READ, P.USERS_WRITE, P.GROUPS_READ}),
    "invitations.manage": frozenset({P.INVITATIONS_READ, P.INVITATIONS_WRITE}),
    "models.manage": frozenset({P.MODELS_READ, P.MODELS_WRITE}),
    "registry.read": frozenset({P.MODELS_READ, P.MODELS_LIST}),
    "logs.read": frozenset({P.LOGS_READ, P.RECORDS_READ, P.OWN_RECORDS_READ, P.BODIES_READ, P.AUDIT_READ}),
    "metrics.read": frozenset({P.USAGE_READ, P.OWN_USAGE_READ, P.QUEUE_READ}),
    # llmlb, older words
    "api": _INFERENCE,
    "api:inference": _INFERENCE,
    "endpoints": frozenset({P.BACKENDS_READ, P.BACKENDS_WRITE, P.NODES_READ, P.NODES_WRITE}),
    "node:register": frozenset({P.NODES_WRITE, P.BACKENDS_WRITE}),
    "runtime": frozenset({P.NODES_WRITE, P.BACKENDS_WRITE}),
    "admin:*": ALL,
}

# Whoever must choose a new password can do that, see who he is, and leave.
WITH_PASSWORD_DUE = _ANONYMOUS | {P.OWN_PROFILE_READ, P.OWN_PASSWORD}


def roles_of(*, is_admin: bool, is_auditor: bool) -> frozenset[Role]:
    """Of a user or service key, by its group."""
    roles = {Role.MEMBER, *([Role.ADMIN] if is_admin else []), *([Role.AUDITOR] if is_auditor else [])}
    return frozenset(roles)


def permissions_of(
    roles: Iterable[Role], scopes: Iterable[str] | None, *, is_password_due: bool = False
) -> frozenset[Permission]:
    """`scopes` None: nothing is taken away. A scope that nobody knows allows nothing."""
    allowed = frozenset[Permission]().union(*(GRANTS[role] for role in roles))
    if scopes is not None:
        allowed &= frozenset[Permission]().union(*(SCOPES.get(scope, frozenset()) for scope in scopes))
    if is_password_due:
        allowed &= WITH_PASSWORD_DUE
    return allowed | GRANTS[Role.ANONYMOUS]
