"""Shell. `/api/admin/api-keys`: the keys of all users; revoke one, delete one that was never used.

They are made at `/api/admin/users/{id}/api-keys` (`users.py`). What is configured is listed behind what is managed.
"""

from typing import Any, Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin import keys as own
from mrproxy.control.admin.keys import status_of_spec
from mrproxy.control.admin.shapes import configured_problem
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.mindrouter.values import (
    Done,
    PageQuery,
    Search,
    configured_number,
    continued,
    iso,
    not_found,
    number_in,
)
from mrproxy.control.permissions import Permission
from mrproxy.link.snapshot import KeySpec
from mrproxy.storage.numbers import numbers_of, requests_of_keys
from mrproxy.storage.people import keys
from mrproxy.storage.people.values import ApiKey, KeyFilter, status_of_key


class KeyShown(msgspec.Struct, frozen=True, kw_only=True):
    """`key_id` is what records and metrics call it; `user_id` null: a service key."""

    id: int
    key_prefix: str
    name: str
    status: str
    user_id: int | None
    username: str | None
    last_used_at: str | None
    usage_count: int
    created_at: str | None
    expires_at: str | None
    key_id: str


class KeysShown(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    skip: int
    limit: int
    api_keys: list[KeyShown]


class KeysQuery(PageQuery, frozen=True, kw_only=True):
    search: Search = ""
    status: Literal["active", "revoked", "expired"] | None = None


class KeyRows(msgspec.Struct, frozen=True):
    rows: list[ApiKey]
    total: int
    used: dict[str, int]
    managed: dict[str, int]


async def list_keys(call: Call[None, KeysQuery]) -> Answer:
    """List keys with their users."""
    query, now_utc = call.query, call.now_utc
    configured = [each for each in call.plane.configured().keys if is_wanted(each, query, now_utc)]
    found = await call.read(read_keys, query, [each.id for each in configured], now_utc)
    others = [
        show_configured(each, found.used, now_utc)
        for each in sorted(configured, key=lambda each: each.name)
        if each.id not in found.managed
    ]
    page, total = continued([shown(each, found.used, now_utc) for each in found.rows], found.total, others, query)
    return Answer(value=KeysShown(total=total, skip=query.skip, limit=query.limit, api_keys=page))


async def revoke_key(call: Call[None, None]) -> Answer:
    """Revoke a key, for good."""
    found = await found_key(call)
    await call.transact(own.write_revocation, call.actor, found.id, call.version, call.now_utc)
    return Answer(value=Done(status="revoked", key_id=found.id))


async def delete_key(call: Call[None, None]) -> Answer:
    """Delete a key that was never used."""
    found = await found_key(call)
    await call.transact(own.write_removal, call.actor, found.id, call.version, call.now_utc)
    return Answer(value=Done(status="deleted", key_id=found.id))


async def found_key(call: Call[Any, Any]) -> ApiKey:
    """Of the database. Raises Problem for one of the configuration."""
    number = number_in(call, "key_id")
    found = await call.read(keys.find_key, number)
    if found is not None:
        return found
    for spec in call.plane.configured().keys:
        if configured_number(spec.id) == number:
            raise configured_problem("key", spec.name or spec.id)
    raise not_found("API key")


async def read_keys(connection: AsyncConnection, query: KeysQuery, configured: list[str], now_utc: float) -> KeyRows:
    wanted = KeyFilter(status=query.status, search=query.search, now_utc=now_utc)
    page = await keys.list_keys(connection, wanted, None, query.limit, query.skip)
    used = await requests_of_keys(connection, [*(each.key_id for each in page.rows), *configured])
    managed = await numbers_of(connection, "key", configured)
    return KeyRows(list(page.rows), await keys.count_keys(connection, wanted), used, managed)


def is_wanted(key: KeySpec, query: KeysQuery, now_utc: float) -> bool:
    search = query.search.casefold()
    is_found = any(search in text.casefold() for text in (key.name, key.id, key.user or ""))
    return is_found and query.status in (None, status_of_spec(key, now_utc))


def shown(key: ApiKey, used: dict[str, int], now_utc: float) -> KeyShown:
    return KeyShown(
        id=key.id,
        key_prefix=key.prefix,
        name=key.name,
        status=status_of_key(key, now_utc),
        user_id=key.user_id,
        username=key.user,
        last_used_at=iso(key.last_used_utc),
        usage_count=used.get(key.key_id, 0),
        created_at=iso(key.created_utc),
        expires_at=iso(key.expires_utc),
        key_id=key.key_id,
    )


def show_configured(key: KeySpec, used: dict[str, int], now_utc: float) -> KeyShown:
    return KeyShown(
        id=configured_number(key.id),
        key_prefix="",
        name=key.name,
        status=status_of_spec(key, now_utc),
        user_id=None if key.user is None else configured_number(key.user),
        username=key.user,
        last_used_at=None,
        usage_count=used.get(key.id, 0),
        created_at=None,
        expires_at=iso(key.expires_utc),
        key_id=key.id,
    )


P = Permission
TAG = "MindRouter: API keys"
ENDPOINTS = (
    Endpoint("GET", "/api-keys", P.KEYS_READ, list_keys, query=KeysQuery, answer=KeysShown, tag=TAG),
    Endpoint("POST", "/api-keys/{key_id}/revoke", P.KEYS_WRITE, revoke_key, answer=Done, tag=TAG),
    Endpoint("DELETE", "/api-keys/{key_id}", P.KEYS_WRITE, delete_key, answer=Done, tag=TAG),
)
