"""Shell. `/keys`: who may come in with what. A key is shown once, in the answer that made it.

A key is named by its `id`, twelve digits that journal and metrics have as well. Read next: `storage/people/keys.py`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.giving import check_scopes_given
from mrproxy.control.admin.groups import group_named
from mrproxy.control.admin.listing import BothQuery, fetch_by, is_found, page_of_both
from mrproxy.control.admin.secrets import MadeKey, made_key
from mrproxy.control.admin.shapes import (
    CONFIGURATION,
    MANAGED,
    LimitChanges,
    LimitFields,
    Models,
    Moment,
    Name,
    Source,
    Wanted,
    changes_of,
    configured_problem,
    fields_of,
    limits_shown,
    limits_wanted,
    moment,
    must_be,
    name_of,
    seconds_of,
)
from mrproxy.control.admin.users import find_user
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.pages import Listing, answer_page
from mrproxy.control.api.problem import Detail, Problem
from mrproxy.control.permissions import SCOPES, Permission
from mrproxy.link.snapshot import KeySpec
from mrproxy.storage.people import keys
from mrproxy.storage.people.keys import Replacement
from mrproxy.storage.people.values import ApiKey, KeyFilter, KeyStatus, NewKey, User, status_of_key

Scope = Annotated[str, Meta(min_length=1, max_length=64, description=f"One of: {', '.join(SCOPES)}.")]
Scopes = Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=50)]
Networks = Annotated[tuple[Annotated[str, Meta(min_length=2, max_length=50)], ...], Meta(max_length=1000)]
Overlap = Annotated[float, Meta(ge=0, le=90 * 86_400)]


class KeyShown(msgspec.Struct, frozen=True, kw_only=True):
    """`user` null: a service key, of `group`. `key` is in the answer that made it, and nowhere else."""

    id: str
    name: str
    source: Source
    prefix: str = ""
    status: Literal["active", "expired", "revoked"] = "active"
    user: str | None = None
    user_id: str | None = None
    group: str = ""
    scopes: tuple[str, ...] = ()
    models: tuple[str, ...] | None = None
    addresses: tuple[str, ...] | None = None
    limits: LimitFields = LimitFields()
    expires_utc: datetime | None = None
    revoked_utc: datetime | None = None
    last_used_utc: datetime | None = None
    replaced_by: str | None = None
    created_by: str = ""
    created_utc: datetime | None = None
    updated_utc: datetime | None = None
    version: int = 0


class KeyMade(KeyShown, frozen=True, kw_only=True):
    """With the key itself, for the only time."""

    key: str


class KeyWanted(Wanted, frozen=True, kw_only=True):
    """Of a user (name or id), or with `group` and no user a service key."""

    name: Name
    user: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    group: Name | None = None
    scopes: Scopes = ("inference",)
    models: Models | None = None
    addresses: Networks | None = None
    expires_utc: Moment | None = None
    limits: LimitFields = LimitFields()


class KeyChanges(Wanted, frozen=True, kw_only=True):
    """What is not named stays."""

    name: Name | UnsetType = UNSET
    scopes: Scopes | UnsetType = UNSET
    models: Models | UnsetType | None = UNSET
    addresses: Networks | UnsetType | None = UNSET
    expires_utc: Moment | UnsetType | None = UNSET
    limits: LimitChanges | UnsetType = UNSET


class Rotation(Wanted, frozen=True, kw_only=True):
    """The old key is good for `overlap_seconds` more."""

    overlap_seconds: Overlap = 0.0
    expires_utc: Moment | None = None


class KeysQuery(BothQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    status: KeyStatus | None = None
    user: Annotated[str, Meta(max_length=128, description="Name or id.")] = ""


async def list_keys(call: Call[None, KeysQuery]) -> Answer:
    """List keys."""
    query, now_utc = call.query, call.now_utc
    wanted = KeyFilter(status=query.status, search=query.search, now_utc=now_utc)
    if query.user and call.plane.store is not None:
        owner = await call.read(find_user, query.user)
        wanted = msgspec.structs.replace(wanted, user_id=0 if owner is None else owner.id)
    configured = sorted(call.plane.configured().keys, key=lambda each: each.id)
    own = [show_configured(each, now_utc) for each in configured if is_wanted(each, query, now_utc)]
    fetch = fetch_by(call, keys.list_keys, wanted, lambda key: shown(key, now_utc))
    return answer_page(call, *await page_of_both(query, int, own, fetch))


async def show_key(call: Call[None, None]) -> Answer:
    """One key, by id."""
    key_id = call.path["key"]
    found = None if call.plane.store is None else await call.read(keys.find_key_by_key_id, key_id)
    if found is not None:
        return answer_key(call, found)
    return Answer(value=show_configured(must_be(configured_key(call, key_id), "key", key_id), call.now_utc))


async def create_key(call: Call[KeyWanted, None]) -> Answer:
    """Make a key; the answer shows it once."""
    check_scopes(call.request.scopes)
    made = await made_key(call)
    key = await call.transact(write_new, call.actor, call.request, made, call.now_utc)
    return answer_made(call, key, made)


async def change_key(call: Call[KeyChanges, None]) -> Answer:
    """Change a key."""
    if not isinstance(call.request.scopes, UnsetType):
        check_scopes(call.request.scopes)
    found = await found_key(call)
    key = await call.transact(write_changes, call.actor, found.id, call.request, call.version, call.now_utc)
    return answer_key(call, key)


async def revoke_key(call: Call[None, None]) -> Answer:
    """Revoke a key, for good."""
    found = await found_key(call)
    key = await call.transact(write_revocation, call.actor, found.id, call.version, call.now_utc)
    return answer_key(call, key)


async def rotate_key(call: Call[Rotation, None]) -> Answer:
    """Replace a key by a new one; the answer shows it once."""
    found = await found_key(call)
    made = await made_key(call)
    key = await call.transact(write_rotation, call.actor, found.id, call.request, made, False, call.now_utc)
    return answer_made(call, key, made)


async def delete_key(call: Call[None, None]) -> Answer:
    """Delete a key that was never used; others are revoked."""
    found = await found_key(call)
    await call.transact(write_removal, call.actor, found.id, call.version, call.now_utc)
    return Answer()


async def found_key(call: Call[Any, Any]) -> ApiKey:
    """Of the database. Raises Problem for one of the configuration."""
    key_id = call.path["key"]
    found = await call.read(keys.find_key_by_key_id, key_id)
    if found is None and configured_key(call, key_id) is not None:
        raise configured_problem("key", key_id)
    return must_be(found, "key", key_id)


def configured_key(call: Call[Any, Any], key_id: str) -> KeySpec | None:
    return next((each for each in call.plane.configured().keys if each.id == key_id), None)


def check_scopes(scopes: Sequence[str]) -> None:
    """Raises Problem for one that nobody knows: it would allow nothing."""
    for index, scope in enumerate(scopes):
        if scope not in SCOPES:
            what = f"There is no scope {scope!r}; there are {', '.join(SCOPES)}."
            raise Problem("invalid", what, errors=(Detail(f"/scopes/{index}", "is no scope"),))


async def write_new(
    connection: AsyncConnection, actor: Actor, wanted: KeyWanted, made: MadeKey, now_utc: float
) -> ApiKey:
    check_scopes_given(actor, wanted.scopes)
    user: User | None = None
    if (wanted.user is None) == (wanted.group is None):
        raise Problem("invalid", "Name a user or a group.", errors=(Detail("/user", "or /group, and only one"),))
    if wanted.user is not None:
        user = await find_user(connection, wanted.user)
        if user is None:
            raise Problem("invalid", f"There is no user {wanted.user!r}.", errors=(Detail("/user", "is no user"),))
    group = None if wanted.group is None else await group_named(connection, wanted.group)
    user_id, group_id = (None if each is None else each.id for each in (user, group))
    new = new_key(actor, wanted, made, user_id=user_id, group_id=group_id)
    return await write_key(connection, actor, new, now_utc)


def new_key(
    actor: Actor,
    wanted: KeyWanted,
    made: MadeKey,
    *,
    user_id: int | None,
    group_id: int | None = None,
    is_by_member: bool = False,
) -> NewKey:
    return NewKey(
        name=wanted.name,
        digest=made.digest,
        prefix=made.prefix,
        hash=made.hash,
        user_id=user_id,
        group_id=group_id,
        scopes=wanted.scopes,
        models=wanted.models,
        addresses=wanted.addresses,
        expires_utc=seconds_of(wanted.expires_utc),
        limits=limits_wanted(wanted.limits),
        created_by=name_of(actor),
        is_by_member=is_by_member,
    )


async def write_key(connection: AsyncConnection, actor: Actor, new: NewKey, now_utc: float) -> ApiKey:
    key = await keys.create_key(connection, new, now_utc)
    await note(connection, actor, "key.create", "key", key.key_id, None, key, now_utc)
    return key


async def write_changes(
    connection: AsyncConnection, actor: Actor, row: int, patch: KeyChanges, version: int | None, now_utc: float
) -> ApiKey:
    before = await keys.get_key(connection, row)
    after = await keys.change_key(connection, row, changes_of(patch), version, now_utc)
    check_scopes_given(actor, after.scopes)  # whatever was changed: a new end or network may bring it back to life
    await note(connection, actor, "key.change", "key", after.key_id, before, after, now_utc)
    return after


async def write_revocation(
    connection: AsyncConnection, actor: Actor, row: int, version: int | None, now_utc: float
) -> ApiKey:
    before = await keys.get_key(connection, row)
    after = await keys.revoke_key(connection, row, version, now_utc)
    await note(connection, actor, "key.revoke", "key", after.key_id, before, after, now_utc)
    return after


async def write_rotation(
    connection: AsyncConnection,
    actor: Actor,
    row: int,
    wanted: Rotation,
    made: MadeKey,
    is_by_member: bool,
    now_utc: float,
) -> ApiKey:
    before = await keys.get_key(connection, row)
    replacement = Replacement(
        digest=made.digest,
        prefix=made.prefix,
        hash=made.hash,
        expires_utc=seconds_of(wanted.expires_utc),
        is_by_member=is_by_member,
    )
    after = await keys.rotate_key(connection, row, replacement, wanted.overlap_seconds, now_utc)
    if not is_by_member:
        check_scopes_given(actor, after.scopes)
    await note(connection, actor, "key.rotate", "key", before.key_id, before, after, now_utc)
    return after


async def write_removal(
    connection: AsyncConnection, actor: Actor, row: int, version: int | None, now_utc: float
) -> None:
    key = await keys.delete_key(connection, row, version, now_utc)
    await note(connection, actor, "key.delete", "key", key.key_id, key, None, now_utc)


def answer_key(call: Call[Any, Any], key: ApiKey) -> Answer:
    """Its use and its end change what is shown without a new version."""
    return Answer(value=shown(key, call.now_utc), version=key.version, is_live=True)


def answer_made(call: Call[Any, Any], key: ApiKey, made: MadeKey) -> Answer:
    value = KeyMade(**msgspec.structs.asdict(shown(key, call.now_utc)), key=made.key)
    return Answer(value=value, status=201, version=key.version, location=f"/admin/api/v1/keys/{key.key_id}")


def shown(key: ApiKey, now_utc: float) -> KeyShown:
    plain = fields_of(key, KeyShown)
    plain |= {name: moment(plain[name]) for name in plain if name.endswith("_utc")}
    ours = {"id": key.key_id, "user_id": key.user_uuid, "source": MANAGED, "limits": limits_shown(key.limits)}
    return KeyShown(**plain | ours | {"status": status_of_key(key, now_utc)})


def show_configured(key: KeySpec, now_utc: float) -> KeyShown:
    return KeyShown(
        id=key.id,
        name=key.name,
        source=CONFIGURATION,
        status=status_of_spec(key, now_utc),
        user=key.user,
        group=key.group,
        scopes=key.scopes,
        models=key.models,
        addresses=key.addresses,
        limits=limits_shown(key.limits),
        expires_utc=moment(key.expires_utc),
    )


def status_of_spec(key: KeySpec, now_utc: float) -> KeyStatus:
    return "expired" if key.expires_utc is not None and key.expires_utc <= now_utc else "active"


def is_wanted(key: KeySpec, query: KeysQuery, now_utc: float) -> bool:
    is_of_user = query.user in ("", key.user)
    is_of_status = query.status in (None, status_of_spec(key, now_utc))
    return is_of_user and is_of_status and is_found(query.search, key.name, key.id, key.user or "")


P = Permission
ENDPOINTS = (
    Endpoint("GET", "/keys", P.KEYS_READ, list_keys, query=KeysQuery, answer=Listing[KeyShown]),
    Endpoint("POST", "/keys", P.KEYS_WRITE, create_key, KeyWanted, answer=KeyMade, status=201),
    Endpoint("GET", "/keys/{key}", P.KEYS_READ, show_key, answer=KeyShown),
    Endpoint("PATCH", "/keys/{key}", P.KEYS_WRITE, change_key, KeyChanges, answer=KeyShown),
    Endpoint("POST", "/keys/{key}/revoke", P.KEYS_WRITE, revoke_key, answer=KeyShown),
    Endpoint("POST", "/keys/{key}/rotate", P.KEYS_WRITE, rotate_key, Rotation, answer=KeyMade, status=201),
    Endpoint("DELETE", "/keys/{key}", P.KEYS_WRITE, delete_key, status=204),
)
