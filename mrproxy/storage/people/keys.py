"""Shell. API keys, of users and of services. See the package for the rules that hold here.

What a key is, is made elsewhere (`identity/digest.py`): here come its digest, by which it is found, and its Argon2id
hash. A rotated key goes on for a while beside the one that replaces it. A service key has no user: it is a flow of its
own with the rights of its group, and no member's limits.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, RowMapping, Select, and_, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.facts import begin_change
from mrproxy.storage.people.checks import (
    Check,
    check_all,
    check_moment,
    check_name,
    check_names,
    check_networks,
    check_scopes,
    check_text,
    clean,
    or_none,
)
from mrproxy.storage.people.columns import flattened, limit_checks, limits_of, packed, unpack
from mrproxy.storage.people.errors import Invalid, NotAllowed, NotFound, Taken
from mrproxy.storage.people.groups import get_group
from mrproxy.storage.people.pages import AnyRow, contains, count_rows, read_page, update_row
from mrproxy.storage.people.users import find_user, get_user
from mrproxy.storage.people.values import ApiKey, Group, KeyCredentials, KeyFilter, NewKey, Page
from mrproxy.storage.schema import records
from mrproxy.storage.schema_people import api_keys, groups, users

KEY_ID_DIGITS = 12  # of the digest: the same key has the same id in configuration, journal and metrics
DIGEST_DIGITS = 32
DAY_SECONDS = 86_400.0
MAX_OVERLAP_SECONDS = 90 * DAY_SECONDS

CHECKS: dict[str, Check] = {
    "name": check_name,
    "scopes": check_scopes,
    "models": or_none(check_names),
    "addresses": or_none(check_networks),
    "expires_utc": or_none(check_moment),
    **limit_checks(),
}

# The group is the user's, or that of a service key.
_JOINED = api_keys.outerjoin(users, api_keys.c.user_id == users.c.id).join(
    groups, groups.c.id == func.coalesce(users.c.group_id, api_keys.c.group_id)
)
SELECTION = select(
    api_keys,
    users.c.name.label("user"),
    users.c.uuid.label("user_uuid"),
    groups.c.id.label("effective_group_id"),
    groups.c.name.label("group"),
    groups.c.is_admin,
    groups.c.is_auditor,
).select_from(_JOINED)
FIELDS = [name for name in ApiKey.__struct_fields__ if name not in ("limits", "models", "addresses", "scopes")]


PLAIN = ("name", "scopes", "models", "addresses", "expires_utc")

_TOUCH = (
    update(api_keys)
    .where(api_keys.c.key_id == bindparam("wanted"), func.coalesce(api_keys.c.last_used_utc, 0.0) < bindparam("at"))
    .values(last_used_utc=bindparam("at"))
)


class Replacement(msgspec.Struct, frozen=True, kw_only=True):
    """The new secret of a key, as `NewKey` has it. `expires_utc` None: it lives as long as the old one was to."""

    digest: str
    prefix: str
    hash: str | None = None
    expires_utc: float | None = None
    is_by_member: bool = False


async def create_key(connection: AsyncConnection, wanted: NewKey, now_utc: float) -> ApiKey:
    """Raises Taken (the digest), NotFound (user, group), NotAllowed, Invalid."""
    if (wanted.user_id is None) == (wanted.group_id is None):
        raise Invalid("user_id", "or group_id must be given, and only one of them")
    values = _values({name: getattr(wanted, name) for name in (*PLAIN, "limits")})
    await begin_change(connection)
    group = await _group_of_owner(connection, wanted.user_id, wanted.group_id)
    if wanted.is_by_member:
        await _refuse_too_many(connection, group, wanted.user_id, now_utc)
        values["expires_utc"] = bounded(wanted.expires_utc, group, now_utc)
    values |= {"user_id": wanted.user_id, "group_id": wanted.group_id, "created_by": clean(wanted.created_by)}
    return await _insert(connection, values, wanted.digest, wanted.prefix, wanted.hash, now_utc)


async def find_key(connection: AsyncConnection, id_: int) -> ApiKey | None:
    return await _find(connection, api_keys.c.id == id_)


async def find_key_by_key_id(connection: AsyncConnection, key_id: str) -> ApiKey | None:
    return await _find(connection, api_keys.c.key_id == clean(key_id))


async def get_key(connection: AsyncConnection, id_: int) -> ApiKey:
    """Raises NotFound."""
    key = await find_key(connection, id_)
    if key is None:
        raise NotFound("key", id_)
    return key


async def find_key_credentials(connection: AsyncConnection, digest: str) -> KeyCredentials | None:
    """By the digest in hex. Revoked, expired or of an inactive user: that is for the caller to say."""
    row = (await connection.execute(SELECTION.where(api_keys.c.digest == clean(digest)))).first()
    if row is None:
        return None
    key = key_of(row)
    user = None if key.user_id is None else await find_user(connection, key.user_id)
    return KeyCredentials(key=key, hash=row.hash, user=user, is_admin=row.is_admin, is_auditor=row.is_auditor)


async def list_keys(
    connection: AsyncConnection, wanted: KeyFilter, behind: int | None = None, limit: int = 100, skip: int = 0
) -> Page[ApiKey]:
    return await read_page(connection, _selection(wanted), api_keys.c.id, key_of, behind, limit, skip=skip)


async def count_keys(connection: AsyncConnection, wanted: KeyFilter) -> int:
    return await count_rows(connection, _selection(wanted).with_only_columns(api_keys.c.id))


async def change_key(
    connection: AsyncConnection, id_: int, changes: dict[str, object], version: int | None, now_utc: float
) -> ApiKey:
    """Name, scopes, models, addresses, expiry, limits. Raises NotFound, Changed, Invalid."""
    values = _values(changes)
    await begin_change(connection)
    await update_row(connection, api_keys, "key", (api_keys.c.id, id_), values, version, now_utc)
    return await get_key(connection, id_)


async def revoke_key(connection: AsyncConnection, id_: int, version: int | None, now_utc: float) -> ApiKey:
    """For good. A key that is revoked already stays as it is. Raises NotFound, Changed."""
    await begin_change(connection)
    key = await get_key(connection, id_)
    if key.revoked_utc is None:
        values = {"revoked_utc": now_utc}
        await update_row(connection, api_keys, "key", (api_keys.c.id, id_), values, version, now_utc)
    return await get_key(connection, id_)


async def rotate_key(
    connection: AsyncConnection, id_: int, wanted: Replacement, overlap_seconds: float, now_utc: float
) -> ApiKey:
    """The new one: like the old one in all but its secret. The old one expires when `overlap_seconds` are over.

    Raises NotFound; NotAllowed for a key that is not valid or was rotated already; Taken, Invalid.
    """
    if not 0 <= overlap_seconds <= MAX_OVERLAP_SECONDS:
        raise Invalid("overlap_seconds", f"must be from 0 to {MAX_OVERLAP_SECONDS:.0f}")
    await begin_change(connection)
    old = (await connection.execute(select(api_keys).where(api_keys.c.id == id_))).mappings().first()
    if old is None:
        raise NotFound("key", id_)
    if old["revoked_utc"] is not None or (old["expires_utc"] or now_utc + 1) <= now_utc:
        raise NotAllowed("a key that is revoked or expired cannot be rotated; make a new one")
    if old["replaced_by"] is not None:
        raise NotAllowed(f"this key was rotated already, and is replaced by {old['replaced_by']}")
    values = {name: old[name] for name in (*CHECKS, "user_id", "group_id", "created_by")}
    values["expires_utc"] = await _expiry_of_replacement(connection, old, wanted, now_utc)
    made = await _insert(connection, values, wanted.digest, wanted.prefix, wanted.hash, now_utc)
    ends = min(old["expires_utc"] or float("inf"), now_utc + overlap_seconds)
    ending = {"expires_utc": ends, "replaced_by": made.key_id}
    await update_row(connection, api_keys, "key", (api_keys.c.id, id_), ending, None, now_utc)
    return made


async def delete_key(connection: AsyncConnection, id_: int, version: int | None, now_utc: float) -> ApiKey:
    """Its row, and with it whose it was. Raises NotFound, Changed; NotAllowed while there are records of its use."""
    await begin_change(connection)
    await update_row(connection, api_keys, "key", (api_keys.c.id, id_), {}, version, now_utc)
    key = await get_key(connection, id_)
    if (await connection.execute(select(records.c.id).where(records.c.key_id == key.key_id).limit(1))).first():
        raise NotAllowed("this key has been used; revoke it, so that its records keep an owner")
    await connection.execute(delete(api_keys).where(api_keys.c.id == id_))
    return key


async def touch_last_used(connection: AsyncConnection, last_used: Mapping[str, float]) -> None:
    """key_id → when. For ingestion: no turn is taken, no version counted, and a later time is never overwritten.

    In the order of key_ids, so that two gateways that do this at once cannot wait for each other.
    """
    if last_used:
        await connection.execute(_TOUCH, [{"wanted": key_id, "at": at} for key_id, at in sorted(last_used.items())])


def bounded(expires_utc: float | None, group: Group, now_utc: float) -> float | None:
    """A member's key lives no longer than its group allows; asking for more gets that."""
    if group.key_days is None:
        return expires_utc
    latest = now_utc + group.key_days * DAY_SECONDS
    return latest if expires_utc is None else min(expires_utc, latest)


def key_of(row: AnyRow) -> ApiKey:
    fields = row._mapping
    lists = {name: unpack(fields[name]) for name in ("scopes", "models", "addresses")}
    plain = {name: fields[name] for name in FIELDS}
    return ApiKey(**plain | lists | {"group_id": fields["effective_group_id"], "limits": limits_of(fields)})


def _values(given: dict[str, object]) -> dict[str, Any]:
    return packed(check_all(flattened(given), CHECKS))


async def _find(connection: AsyncConnection, condition: ColumnElement[bool]) -> ApiKey | None:
    row = (await connection.execute(SELECTION.where(condition))).first()
    return None if row is None else key_of(row)


async def _insert(
    connection: AsyncConnection, values: dict[str, Any], digest: str, prefix: str, hash_: str | None, now_utc: float
) -> ApiKey:
    if len(digest) != DIGEST_DIGITS or not set(digest) <= set("0123456789abcdef"):
        raise Invalid("digest", f"must be {DIGEST_DIGITS} lower-case hex digits")
    key_id = digest[:KEY_ID_DIGITS]
    same = or_(api_keys.c.digest == digest, api_keys.c.key_id == key_id)
    if (await connection.execute(select(api_keys.c.id).where(same))).first() is not None:
        raise Taken("digest")
    secret = {"digest": digest, "key_id": key_id, "hash": hash_, "prefix": check_text("prefix", prefix, 32)}
    made = insert(api_keys).values(**values, **secret, created_utc=now_utc, updated_utc=now_utc)
    return await get_key(connection, (await connection.execute(made.returning(api_keys.c.id))).scalar_one())


async def _group_of_owner(connection: AsyncConnection, user_id: int | None, group_id: int | None) -> Group:
    if user_id is None:
        assert group_id is not None
        return await get_group(connection, group_id)
    user = await get_user(connection, user_id)
    if not user.is_active:
        raise NotAllowed("the user is not active")
    return await get_group(connection, user.group_id)


async def _expiry_of_replacement(
    connection: AsyncConnection, old: RowMapping, wanted: Replacement, now_utc: float
) -> float | None:
    expires = wanted.expires_utc
    if expires is None and old["expires_utc"] is not None:
        expires = now_utc + (old["expires_utc"] - old["created_utc"])
    if expires is not None:
        check_moment("expires_utc", expires)
    group = await _group_of_owner(connection, old["user_id"], old["group_id"])
    return bounded(expires, group, now_utc) if wanted.is_by_member else expires


async def _refuse_too_many(connection: AsyncConnection, group: Group, user_id: int | None, now_utc: float) -> None:
    """Keys that end by rotation do not count: they cannot be had more of by rotating."""
    if group.max_keys is None or user_id is None:
        return
    counted = and_(_is("active", now_utc), api_keys.c.user_id == user_id, api_keys.c.replaced_by.is_(None))
    count = (await connection.execute(select(func.count()).select_from(api_keys).where(counted))).scalar_one()
    if count >= group.max_keys:
        raise NotAllowed(f"members of group {group.name!r} may have {group.max_keys} keys; revoke one first")


def _is(status: str, now_utc: float) -> ColumnElement[bool]:
    is_revoked = api_keys.c.revoked_utc.is_not(None)
    is_over = and_(api_keys.c.expires_utc.is_not(None), api_keys.c.expires_utc <= now_utc)
    match status:
        case "revoked":
            return is_revoked
        case "expired":
            return and_(~is_revoked, is_over)
        case _:
            return and_(~is_revoked, ~is_over)


def _selection(wanted: KeyFilter) -> Select[Any]:
    chosen = SELECTION
    if wanted.user_id is not None:
        chosen = chosen.where(api_keys.c.user_id == wanted.user_id)
    if wanted.group_id is not None:
        chosen = chosen.where(groups.c.id == wanted.group_id)
    if wanted.is_service is not None:
        chosen = chosen.where(api_keys.c.user_id.is_(None) == wanted.is_service)
    if wanted.status is not None:
        chosen = chosen.where(_is(wanted.status, wanted.now_utc))
    if wanted.search:
        chosen = chosen.where(
            contains(wanted.search, api_keys.c.name, api_keys.c.prefix, api_keys.c.key_id, users.c.name)
        )
    return chosen
