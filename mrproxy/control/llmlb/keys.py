"""Shell. `/api-keys`, and `/me/api-keys` for one's own: llmlb's words for scopes are kept and shown as they were given.

A key belongs to whoever makes it. What was deleted is gone from here; if it was used it stays revoked, so that its
records keep an owner.
Read next: `../admin/keys.py`, which does the same in our own words; `../permissions.py`, for all words.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.giving import check_scopes_given
from mrproxy.control.admin.keys import KeyWanted, configured_key, new_key, write_key
from mrproxy.control.admin.me import check_own_scopes
from mrproxy.control.admin.secrets import made_key
from mrproxy.control.admin.shapes import CONFIGURATION, MANAGED, Source, at, configured_problem, moment
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.llmlb.listing import read_all
from mrproxy.control.llmlb.manners import Text, Wanted, bad_request, moment_in, not_found, theirs
from mrproxy.control.permissions import SCOPES, Permission
from mrproxy.link.snapshot import KeySpec
from mrproxy.storage.people import keys
from mrproxy.storage.people.checks import MAX_SEARCH_CHARACTERS
from mrproxy.storage.people.errors import NotAllowed, Taken
from mrproxy.storage.people.groups import get_group
from mrproxy.storage.people.pages import MAX_PAGE
from mrproxy.storage.people.values import ApiKey, KeyFilter, NewKey

# What a key is for when nobody says: in the oldest version there were no scopes, and every key could infer.
USUAL = ("api",)

Words = Annotated[tuple[Text, ...], Meta(max_length=50)]


class KeyShown(msgspec.Struct, frozen=True, kw_only=True):
    """`scopes` and `permissions` are the same list, for different versions. `created_by` is a user's id."""

    id: str
    key_prefix: str = ""
    name: str
    created_by: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    scopes: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    source: Source = MANAGED


class KeysShown(msgspec.Struct, frozen=True):
    api_keys: list[KeyShown]


class KeyMade(KeyShown, frozen=True, kw_only=True):
    """With the key itself, for the only time."""

    key: str


class KeyWantedThere(Wanted, frozen=True, kw_only=True):
    """`expires_at` is RFC 3339. `scopes` of older versions, `permissions` of the current one; both count."""

    name: Text
    expires_at: Text | None = None
    scopes: Words | None = None
    permissions: Words | None = None

    def words(self) -> tuple[str, ...]:
        """Raises Problem where it is to have none."""
        if self.scopes is None and self.permissions is None:
            return USUAL
        words = tuple(dict.fromkeys((*(self.scopes or ()), *(self.permissions or ()))))
        if not words:
            raise bad_request("Scopes are required")
        unknown = next((word for word in words if word not in SCOPES), None)
        if unknown is not None:
            raise bad_request(f"Unknown scope {unknown!r}; there are {', '.join(SCOPES)}")
        return words


class KeyChangesThere(Wanted, frozen=True, kw_only=True):
    """What is not named stays; null in `expires_at` takes the end away."""

    name: Text | UnsetType = UNSET
    expires_at: Text | UnsetType | None = UNSET


async def list_keys(call: Call[None, None]) -> Answer:
    """List API keys."""
    configured = [show_configured(each) for each in sorted(call.plane.configured().keys, key=lambda each: each.id)]
    return Answer(value=KeysShown(configured + await shown_keys(call, KeyFilter())))


async def list_my_keys(call: Call[None, None]) -> Answer:
    """List my API keys."""
    return Answer(value=KeysShown(await shown_keys(call, KeyFilter(user_id=call.user_id))))


async def create_key(call: Call[KeyWantedThere, None]) -> Answer:
    """Make an API key; the answer shows it once."""
    return await answer_made(call, is_by_member=False)


async def create_my_key(call: Call[KeyWantedThere, None]) -> Answer:
    """Make myself an API key; the answer shows it once."""
    return await answer_made(call, is_by_member=True)


async def change_key(call: Call[KeyChangesThere, None]) -> Answer:
    """Change an API key's name and expiry."""
    return await answer_changed(call, await found_key(call), is_by_member=False)


async def change_my_key(call: Call[KeyChangesThere, None]) -> Answer:
    """Change the name and expiry of one of my API keys."""
    return await answer_changed(call, await found_own_key(call), is_by_member=True)


async def delete_key(call: Call[None, None]) -> Answer:
    """Delete an API key."""
    found = await found_key(call)
    await call.transact(write_end, call.actor, found.id, call.version, call.now_utc)
    return Answer()


async def delete_my_key(call: Call[None, None]) -> Answer:
    """Delete one of my API keys."""
    found = await found_own_key(call)
    await call.transact(write_end, call.actor, found.id, call.version, call.now_utc)
    return Answer()


async def shown_keys(call: Call[Any, None], wanted: KeyFilter) -> list[KeyShown]:
    return [shown(each) for each in await read_all(call, keys.list_keys, wanted) if each.revoked_utc is None]


async def answer_made(call: Call[KeyWantedThere, None], *, is_by_member: bool) -> Answer:
    """Whoever asks with a key gives no more than that has."""
    wanted = call.request
    words = wanted.words()
    if is_by_member:
        check_own_scopes(call.actor, words)
    else:
        check_scopes_given(call.actor, words)
    expires_utc = moment_in(wanted.expires_at, "expires_at")
    user_id, made = call.user_id, await made_key(call)
    ours = KeyWanted(name=wanted.name, scopes=words, expires_utc=moment(expires_utc))
    new = new_key(call.actor, ours, made, user_id=user_id, is_by_member=is_by_member)
    key = await call.transact(write_new, call.actor, new, call.now_utc)
    return Answer(value=KeyMade(**msgspec.structs.asdict(shown(key)), key=made.key), status=201)


async def answer_changed(call: Call[KeyChangesThere, None], key: ApiKey, *, is_by_member: bool) -> Answer:
    wanted = call.request
    changes: dict[str, object] = {}
    if not isinstance(wanted.name, UnsetType):
        changes["name"] = wanted.name
    if not isinstance(wanted.expires_at, UnsetType):
        changes["expires_utc"] = moment_in(wanted.expires_at, "expires_at")
    if not changes:
        return Answer(value=shown(key))
    after = await call.transact(write_changes, call.actor, key, changes, is_by_member, call.version, call.now_utc)
    return Answer(value=shown(after))


async def found_key(call: Call[Any, None]) -> ApiKey:
    """Of the database. Raises Problem for one of the configuration."""
    key_id = call.path["key"]
    found = await call.read(keys.find_key_by_key_id, key_id)
    if found is None and configured_key(call, key_id) is not None:
        raise configured_problem("key", key_id)
    if found is None or found.revoked_utc is not None:
        raise not_found("API key")
    return found


async def found_own_key(call: Call[Any, None]) -> ApiKey:
    """Raises Problem, for somebody else's as for none."""
    user_id = call.user_id
    found = await call.read(keys.find_key_by_key_id, call.path["key"])
    if found is None or found.revoked_utc is not None or found.user_id != user_id:
        raise not_found("API key")
    return found


async def write_new(connection: AsyncConnection, actor: Actor, new: NewKey, now_utc: float) -> ApiKey:
    key = await write_key(connection, actor, new, now_utc)
    await refuse_same_name(connection, key)
    return key


async def write_changes(
    connection: AsyncConnection,
    actor: Actor,
    key: ApiKey,
    changes: dict[str, object],
    is_by_member: bool,
    version: int | None,
    now_utc: float,
) -> ApiKey:
    """A member's key lives no longer from now on than its group allows."""
    if not is_by_member:
        check_scopes_given(actor, key.scopes)
    elif "expires_utc" in changes:
        check_own_scopes(actor, key.scopes)
        group = await get_group(connection, key.group_id)
        changes |= {"expires_utc": keys.bounded(changes["expires_utc"], group, now_utc)}  # type: ignore[arg-type]
    before = await keys.get_key(connection, key.id)
    after = await keys.change_key(connection, key.id, changes, version, now_utc)
    if after.name != before.name:
        await refuse_same_name(connection, after)
    await note(connection, actor, "key.change", "key", after.key_id, before, after, now_utc)
    return after


async def write_end(connection: AsyncConnection, actor: Actor, row: int, version: int | None, now_utc: float) -> None:
    """Deleted, or revoked for good where there are records of it."""
    before = await keys.get_key(connection, row)
    after, action = None, "key.delete"
    try:
        async with connection.begin_nested():
            await keys.delete_key(connection, row, version, now_utc)
    except NotAllowed:
        after, action = await keys.revoke_key(connection, row, version, now_utc), "key.revoke"
    await note(connection, actor, action, "key", before.key_id, before, after, now_utc)


async def refuse_same_name(connection: AsyncConnection, key: ApiKey) -> None:
    """In the turn of a change: names are unique among a user's keys, as there. Raises Taken."""
    same = KeyFilter(user_id=key.user_id, search=key.name[:MAX_SEARCH_CHARACTERS])
    page = await keys.list_keys(connection, same, None, MAX_PAGE)
    if any(each.name == key.name and each.id != key.id and each.revoked_utc is None for each in page.rows):
        raise Taken("name", key.name)


def shown(key: ApiKey) -> KeyShown:
    return KeyShown(
        id=key.key_id,
        key_prefix=key.prefix,
        name=key.name,
        created_by=key.user_uuid,
        created_at=at(key.created_utc),
        expires_at=moment(key.expires_utc),
        last_used_at=moment(key.last_used_utc),
        scopes=key.scopes,
        permissions=key.scopes,
    )


def show_configured(key: KeySpec) -> KeyShown:
    return KeyShown(
        id=key.id,
        name=key.name,
        created_by=key.user,
        expires_at=moment(key.expires_utc),
        scopes=key.scopes,
        permissions=key.scopes,
        source=CONFIGURATION,
    )


P = Permission
TAG = "llmlb: API keys"
ALL, ONE, MINE, MY_ONE = "/api-keys", "/api-keys/{key}", "/me/api-keys", "/me/api-keys/{key}"
ENDPOINTS = (
    Endpoint("GET", ALL, P.KEYS_READ, theirs(list_keys), answer=KeysShown, tag=TAG),
    Endpoint(
        "POST",
        ALL,
        P.KEYS_WRITE,
        theirs(create_key),
        KeyWantedThere,
        answer=KeyMade,
        status=201,
        tag=TAG,
    ),
    Endpoint("PUT", ONE, P.KEYS_WRITE, theirs(change_key), KeyChangesThere, answer=KeyShown, tag=TAG),
    Endpoint("DELETE", ONE, P.KEYS_WRITE, theirs(delete_key), status=204, tag=TAG),
    Endpoint("GET", MINE, P.OWN_KEYS_READ, theirs(list_my_keys), answer=KeysShown, tag=TAG),
    Endpoint(
        "POST", MINE, P.OWN_KEYS_WRITE, theirs(create_my_key), KeyWantedThere, answer=KeyMade, status=201, tag=TAG
    ),
    Endpoint("PUT", MY_ONE, P.OWN_KEYS_WRITE, theirs(change_my_key), KeyChangesThere, answer=KeyShown, tag=TAG),
    Endpoint("DELETE", MY_ONE, P.OWN_KEYS_WRITE, theirs(delete_my_key), status=204, tag=TAG),
)
