"""Shell. `/me`: what is one's own. Somebody else's is not there, whoever asks: administrators have the other routes.

Changing one's password is a matter of signing in (`mrproxy/control/signin`).
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.keys import (
    KeyMade,
    KeyShown,
    KeyWanted,
    Networks,
    Rotation,
    Scopes,
    answer_key,
    answer_made,
    check_scopes,
    new_key,
    shown,
    write_key,
    write_revocation,
    write_rotation,
)
from mrproxy.control.admin.listing import RowKey
from mrproxy.control.admin.quota_requests import QuotaRequestShown, answer_list
from mrproxy.control.admin.quota_requests import shown as shown_request
from mrproxy.control.admin.secrets import made_key
from mrproxy.control.admin.shapes import Amount, LimitFields, Models, Moment, Name, Short, Text, Wanted, changes_of
from mrproxy.control.admin.users import Email, UserShown, answer_user
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.pages import Listing, PageQuery, answer_page
from mrproxy.control.api.problem import Detail, Problem
from mrproxy.control.permissions import Permission, permissions_of
from mrproxy.storage.people import keys, quota_requests, users
from mrproxy.storage.people.values import (
    ApiKey,
    KeyFilter,
    KeyStatus,
    NewQuotaRequest,
    QuotaRequest,
    QuotaRequestFilter,
    User,
)


class Whoami(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and what may be asked. `user` null: no user of the database, such as a key of the configuration."""

    kind: Literal["user", "key", "local", "anonymous", "system"]
    name: str
    roles: list[str]
    scopes: tuple[str, ...] | None
    permissions: list[str]
    is_password_due: bool
    user: UserShown | None


class ProfileChanges(Wanted, frozen=True, kw_only=True):
    """What one may say of oneself; what is not named stays."""

    full_name: Short | UnsetType = UNSET
    email: Email | UnsetType | None = UNSET
    college: Short | UnsetType = UNSET
    department: Short | UnsetType = UNSET
    intended_use: Text | UnsetType = UNSET


class OwnKeyWanted(Wanted, frozen=True, kw_only=True):
    """No more of them, and for no longer, than the group allows. Limits only take away from one's own."""

    name: Name
    scopes: Scopes = ("inference",)
    models: Models | None = None
    addresses: Networks | None = None
    expires_utc: Moment | None = None
    limits: LimitFields = LimitFields()


class OwnKeysQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    status: KeyStatus | None = None


class MoreWanted(Wanted, frozen=True, kw_only=True):
    """At least one of the two."""

    requested_tokens: Amount | None = None
    requested_requests_per_minute: Amount | None = None
    justification: Annotated[str, Meta(max_length=10_000)] = ""


async def show_me(call: Call[None, None]) -> Answer:
    """Who is asking, and what is allowed."""
    actor = call.actor
    found = None if actor.user_id is None else await call.read(users.find_user, actor.user_id)
    answer = None if found is None else answer_user(found, {each.name for each in call.plane.configured().users})
    value = Whoami(
        kind=actor.kind.value,
        name=actor.name,
        roles=sorted(role.value for role in actor.roles),
        scopes=actor.scopes,
        permissions=sorted(each.value for each in actor.permissions),
        is_password_due=actor.is_password_due,
        user=None if answer is None else answer.value,  # type: ignore[arg-type]
    )
    return Answer(value=value, version=None if found is None else found.version, is_live=True)


async def change_me(call: Call[ProfileChanges, None]) -> Answer:
    """Change what one says of oneself."""
    changed = await call.transact(write_profile, call.actor, call.user_id, call.request, call.version, call.now_utc)
    return answer_user(changed, {each.name for each in call.plane.configured().users})


async def list_my_keys(call: Call[None, OwnKeysQuery]) -> Answer:
    """List one's own keys."""
    now_utc = call.now_utc
    wanted = KeyFilter(user_id=call.user_id, status=call.query.status, now_utc=now_utc)
    page = await call.read(keys.list_keys, wanted, call.query.behind(RowKey), call.query.limit)
    return answer_page(call, [shown(each, now_utc) for each in page.rows], page.following)


async def show_my_key(call: Call[None, None]) -> Answer:
    """One of one's own keys."""
    return answer_key(call, await call.read(find_own_key, call.user_id, call.path["key"]))


async def create_my_key(call: Call[OwnKeyWanted, None]) -> Answer:
    """Make oneself a key; the answer shows it once."""
    check_own_scopes(call.actor, call.request.scopes)
    user_id, made = call.user_id, await made_key(call)
    wanted = KeyWanted(**msgspec.structs.asdict(call.request))
    new = new_key(call.actor, wanted, made, user_id=user_id, is_by_member=True)
    return answer_made(call, await call.transact(write_key, call.actor, new, call.now_utc), made)


async def revoke_my_key(call: Call[None, None]) -> Answer:
    """Revoke one of one's own keys."""
    found = await call.read(find_own_key, call.user_id, call.path["key"])
    return answer_key(call, await call.transact(write_revocation, call.actor, found.id, call.version, call.now_utc))


async def rotate_my_key(call: Call[Rotation, None]) -> Answer:
    """Replace one of one's own keys by a new one; the answer shows it once."""
    found = await call.read(find_own_key, call.user_id, call.path["key"])
    check_own_scopes(call.actor, found.scopes)
    made = await made_key(call)
    key = await call.transact(write_rotation, call.actor, found.id, call.request, made, True, call.now_utc)
    return answer_made(call, key, made)


async def list_my_quota_requests(call: Call[None, PageQuery]) -> Answer:
    """List what one has asked for, the newest first."""
    return await answer_list(call, QuotaRequestFilter(user_id=call.user_id))


async def ask_for_more(call: Call[MoreWanted, None]) -> Answer:
    """Ask for a larger budget or more requests per minute."""
    new = NewQuotaRequest(user_id=call.user_id, **msgspec.structs.asdict(call.request))
    made = await call.transact(write_quota_request, call.actor, new, call.now_utc)
    return Answer(value=shown_request(made), version=made.version)


def check_own_scopes(actor: Actor, scopes: tuple[str, ...]) -> None:
    """A key makes no key that may more than itself. Raises Problem."""
    check_scopes(scopes)
    wanted = permissions_of(actor.roles, scopes)
    if not wanted <= actor.permissions:
        what = "A key cannot be given what you may not do yourself with what you signed in with."
        raise Problem("forbidden", what, errors=(Detail("/scopes", "allow too much"),))


async def find_own_key(connection: AsyncConnection, user_id: int, key_id: str) -> ApiKey:
    """Raises Problem, for somebody else's as for none."""
    key = await keys.find_key_by_key_id(connection, key_id)
    if key is None or key.user_id != user_id:
        raise Problem("not-found", f"You have no key {key_id!r}.")
    return key


async def write_profile(
    connection: AsyncConnection, actor: Actor, user_id: int, patch: ProfileChanges, version: int | None, now_utc: float
) -> User:
    before = await users.get_user(connection, user_id)
    after = await users.change_user(connection, user_id, changes_of(patch), version, now_utc)
    await note(connection, actor, "user.change", "user", after.name, before, after, now_utc)
    return after


async def write_quota_request(
    connection: AsyncConnection, actor: Actor, new: NewQuotaRequest, now_utc: float
) -> QuotaRequest:
    made = await quota_requests.create_quota_request(connection, new, now_utc)
    await note(connection, actor, "quota_request.create", "quota request", str(made.id), None, made, now_utc)
    return made


P = Permission
_KEY = "/me/keys/{key}"
ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/me", P.OWN_PROFILE_READ, show_me, answer=Whoami),
    Endpoint("PATCH", "/me", P.OWN_PROFILE_WRITE, change_me, ProfileChanges, answer=UserShown, publishes=False),
    Endpoint("GET", "/me/keys", P.OWN_KEYS_READ, list_my_keys, query=OwnKeysQuery, answer=Listing[KeyShown]),
    Endpoint("POST", "/me/keys", P.OWN_KEYS_WRITE, create_my_key, OwnKeyWanted, answer=KeyMade, status=201),
    Endpoint("GET", _KEY, P.OWN_KEYS_READ, show_my_key, answer=KeyShown),
    Endpoint("POST", f"{_KEY}/revoke", P.OWN_KEYS_WRITE, revoke_my_key, answer=KeyShown),
    Endpoint("POST", f"{_KEY}/rotate", P.OWN_KEYS_WRITE, rotate_my_key, Rotation, answer=KeyMade, status=201),
    Endpoint(
        "GET",
        "/me/quota-requests",
        P.OWN_QUOTA_READ,
        list_my_quota_requests,
        query=PageQuery,
        answer=Listing[QuotaRequestShown],
    ),
    Endpoint(
        "POST",
        "/me/quota-requests",
        P.OWN_QUOTA_WRITE,
        ask_for_more,
        MoreWanted,
        answer=QuotaRequestShown,
        status=201,
        publishes=False,
    ),
)
