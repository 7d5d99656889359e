"""Pure. What the functions of this package take and return.

`New…` is what is asked for, `…Filter` what a list is narrowed to, the rest is what there is. None of what there is
holds a hash, a digest or a secret, except in types that say so: `Credentials`, `KeyCredentials`.
Numbers named `id` count rows of one database; `uuid`, `key_id` and names are what others may keep.
Changes are `dict[str, object]` with the names of fields; `limits` replaces all five of them, the name of one (such as
`token_budget`) that one, and the same goes for a group's `shared` and `shared_token_budget`.
`version` counts changes: it is the entity's ETag.
"""

from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

import msgspec

from mrproxy.link.snapshot import Limits

T = TypeVar("T")

KeyStatus = Literal["active", "expired", "revoked"]
InvitationStatus = Literal["active", "used", "expired", "revoked"]
QuotaStatus = Literal["pending", "approved", "denied"]
SessionKind = Literal["cookie", "token"]

INFERENCE = ("inference",)


class Page(msgspec.Struct, Generic[T], frozen=True):
    """`following` is the `behind` of the next page, None after the last."""

    rows: Sequence[T]
    following: int | str | None = None


class NewGroup(msgspec.Struct, frozen=True, kw_only=True):
    """`models` None allows all. `max_keys`, `key_days`: what members may make for themselves, and for how long."""

    name: str
    display_name: str = ""
    description: str = ""
    weight: int = 1
    is_admin: bool = False
    is_auditor: bool = False
    models: tuple[str, ...] | None = None
    max_keys: int | None = None
    key_days: int | None = None
    captures_bodies: bool = False
    limits: Limits = Limits()
    shared: Limits = Limits()


class Group(NewGroup, frozen=True, kw_only=True):
    id: int
    created_utc: float
    updated_utc: float
    version: int


class GroupFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`search`: part of a name or description, in any case."""

    search: str = ""


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """`weight`, `models`, and each of `limits`: None is what the group says. No `password_hash`: no password."""

    name: str
    group_id: int
    email: str | None = None
    full_name: str = ""
    college: str = ""
    department: str = ""
    intended_use: str = ""
    weight: int | None = None
    models: tuple[str, ...] | None = None
    password_hash: str | None = None
    must_change_password: bool = False
    is_active: bool = True
    limits: Limits = Limits()


class User(msgspec.Struct, frozen=True, kw_only=True):
    """`group`, `is_admin` and `is_auditor` are its group's. `limits` are its own only."""

    id: int
    uuid: str
    name: str
    email: str | None
    full_name: str
    college: str
    department: str
    intended_use: str
    group_id: int
    group: str
    is_admin: bool
    is_auditor: bool
    weight: int | None
    models: tuple[str, ...] | None
    has_password: bool
    must_change_password: bool
    is_active: bool
    failed_logins: int
    locked_until_utc: float | None
    last_login_utc: float | None
    limits: Limits
    created_utc: float
    updated_utc: float
    version: int


class UserFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`search`: part of name, full name or address, in any case."""

    group_id: int | None = None
    is_active: bool | None = None
    search: str = ""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a password is compared with. Not for any answer."""

    user: User
    password_hash: str | None


class NewIdentity(msgspec.Struct, frozen=True, kw_only=True):
    user_id: int
    issuer: str
    subject: str
    email: str | None = None


class Identity(NewIdentity, frozen=True, kw_only=True):
    """Who a user is at an OpenID Connect provider."""

    id: int
    created_utc: float


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A user's, or with `group_id` and no user a service key. `digest` in hex; `hash` is Argon2id, made by the caller.

    `prefix`: the first characters, to be recognised by. `created_by`: a name. `is_by_member`: made by a user for
    itself, so the group's `max_keys` and `key_days` hold.
    """

    name: str
    digest: str
    prefix: str
    hash: str | None = None
    user_id: int | None = None
    group_id: int | None = None
    scopes: tuple[str, ...] = INFERENCE
    models: tuple[str, ...] | None = None
    addresses: tuple[str, ...] | None = None
    expires_utc: float | None = None
    limits: Limits = Limits()
    created_by: str = ""
    is_by_member: bool = False


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """`key_id` is what journal, metrics and APIs call it. `group` is its user's, or that of a service key."""

    id: int
    key_id: str
    prefix: str
    name: str
    user_id: int | None
    user: str | None
    user_uuid: str | None
    group_id: int
    group: str
    scopes: tuple[str, ...]
    models: tuple[str, ...] | None
    addresses: tuple[str, ...] | None
    expires_utc: float | None
    revoked_utc: float | None
    last_used_utc: float | None
    replaced_by: str | None
    created_by: str
    limits: Limits
    created_utc: float
    updated_utc: float
    version: int


class KeyFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is judged at `now_utc`. `search`: part of name, prefix, key_id or user's name."""

    user_id: int | None = None
    group_id: int | None = None
    status: KeyStatus | None = None
    is_service: bool | None = None
    search: str = ""
    now_utc: float = 0.0


class KeyCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """A key as the one who signs in with it: its own words, its user if it has one, its group's roles."""

    key: ApiKey
    hash: str | None
    user: User | None
    is_admin: bool
    is_auditor: bool


class NewSession(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is a digest of what the cookie or token holds."""

    id: str
    user_id: int
    kind: SessionKind
    expires_utc: float
    address: str = ""
    user_agent: str = ""


class Session(NewSession, frozen=True, kw_only=True):
    """`seen_utc` is as old as `touch_session` is rare."""

    created_utc: float
    seen_utc: float
    revoked_utc: float | None = None


class NewInvitation(msgspec.Struct, frozen=True, kw_only=True):
    """`digest` of the code, in hex, and the code's first characters."""

    digest: str
    prefix: str
    group_id: int
    expires_utc: float
    created_by: str
    email: str | None = None


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """`used_by` is a user's id."""

    id: int
    uuid: str
    prefix: str
    group_id: int
    group: str
    email: str | None
    created_by: str
    created_utc: float
    expires_utc: float
    used_utc: float | None
    used_by: int | None
    revoked_utc: float | None


class InvitationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is judged at `now_utc`."""

    status: InvitationStatus | None = None
    now_utc: float = 0.0


class NewQuotaRequest(msgspec.Struct, frozen=True, kw_only=True):
    user_id: int
    justification: str = ""
    requested_tokens: int | None = None
    requested_requests_per_minute: int | None = None


class QuotaRequest(NewQuotaRequest, frozen=True, kw_only=True):
    """`granted_…` and `reviewed_…` once somebody has decided."""

    id: int
    user: str
    status: QuotaStatus
    granted_tokens: int | None
    granted_requests_per_minute: int | None
    reviewed_by: str | None
    reviewed_utc: float | None
    review_notes: str
    created_utc: float
    updated_utc: float
    version: int


class QuotaRequestFilter(msgspec.Struct, frozen=True, kw_only=True):
    user_id: int | None = None
    status: QuotaStatus | None = None


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What is granted is added to the user's budget, and replaces its requests per minute. None: as requested."""

    is_approved: bool
    reviewed_by: str
    notes: str = ""
    granted_tokens: int | None = None
    granted_requests_per_minute: int | None = None


def status_of_key(key: ApiKey, now_utc: float) -> KeyStatus:
    if key.revoked_utc is not None:
        return "revoked"
    return "expired" if key.expires_utc is not None and key.expires_utc <= now_utc else "active"


def status_of_invitation(invitation: Invitation, now_utc: float) -> InvitationStatus:
    if invitation.used_utc is not None:
        return "used"
    if invitation.revoked_utc is not None:
        return "revoked"
    return "expired" if invitation.expires_utc <= now_utc else "active"
