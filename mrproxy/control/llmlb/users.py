"""Shell. `/users` in llmlb's words: an `admin` is in a group of administrators, everybody else is a `viewer`.

A new viewer is put into the group `other`, a new administrator into `admin`; a user who is neither moved keeps its
group, of which llmlb has none. Who was deleted and left traces is deactivated here, and is nobody there.
Read next: `../admin/users.py`, which does the same in our own words.
"""

import secrets
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.giving import check_reserved
from mrproxy.control.admin.secrets import hashed, hashed_password
from mrproxy.control.admin.shapes import CONFIGURATION, MANAGED, Source, at, configured_problem, moment
from mrproxy.control.admin.users import UserChanges, UserWanted, configured_user, found_user, write_changes, write_new
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.identify import ADMIN
from mrproxy.control.llmlb.listing import read_all
from mrproxy.control.llmlb.manners import Text, Wanted, not_found, theirs
from mrproxy.control.permissions import Permission
from mrproxy.control.signin.llmlb_auth import role_of
from mrproxy.link.snapshot import UserSpec
from mrproxy.storage.people import users
from mrproxy.storage.people.errors import NotAllowed
from mrproxy.storage.people.values import User, UserFilter

RoleName = Literal["admin", "viewer"]
GROUPS: dict[RoleName, str] = {"admin": ADMIN, "viewer": "other"}
PASSWORD_BYTES = 12  # sixteen characters


class UserShown(msgspec.Struct, frozen=True, kw_only=True):
    """`source` is ours: what is configured is changed in the configuration."""

    id: str
    username: str
    role: str
    email: str | None = None
    created_at: datetime | None = None
    last_login: datetime | None = None
    source: Source = MANAGED


class UsersShown(msgspec.Struct, frozen=True):
    users: list[UserShown]


class UserMade(UserShown, frozen=True, kw_only=True):
    """As older versions have it; `user` and `generated_password` are of the current one."""

    user: UserShown
    generated_password: str | UnsetType = UNSET


class UserWantedThere(Wanted, frozen=True, kw_only=True):
    """Without a password one is made, which must be changed at the first sign-in."""

    username: Text
    role: RoleName = "viewer"
    password: Text | None = None
    email: Text | None = None


class UserChangesThere(Wanted, frozen=True, kw_only=True):
    """Null changes nothing; an empty `email` takes it away."""

    username: Text | None = None
    role: RoleName | None = None
    password: Text | None = None
    email: Text | None = None


async def list_users(call: Call[None, None]) -> Answer:
    """List users."""
    configured = call.plane.configured().users
    found = await read_all(call, users.list_users, UserFilter(is_active=True))
    listed = [*map(show_configured, sorted(configured, key=lambda each: each.name)), *map(shown, found)]
    return Answer(value=UsersShown(listed))


async def create_user(call: Call[UserWantedThere, None]) -> Answer:
    """Make a user; without a password the answer shows the one that was made."""
    wanted, generated = call.request, ""
    if configured_user(call, wanted.username) is not None:
        raise configured_problem("user", wanted.username)
    if wanted.password is None:
        generated = secrets.token_urlsafe(PASSWORD_BYTES)
        password_hash = await hashed(call, generated)
    else:
        password_hash = await hashed_password(call, wanted.password, wanted.username)
    new = UserWanted(
        name=wanted.username,
        group=GROUPS[wanted.role],
        email=wanted.email or None,
        must_change_password=bool(generated),
    )
    user = shown(await call.transact(write_new, call.actor, new, password_hash, call.now_utc))
    made = UserMade(**msgspec.structs.asdict(user), user=user, generated_password=generated or UNSET)
    return Answer(value=made, status=201)


async def change_user(call: Call[UserChangesThere, None]) -> Answer:
    """Change a user's name, password, role or address."""
    wanted, user = call.request, await found_one(call)
    changes: dict[str, Any] = {}
    password_hash = None
    if wanted.username is not None:
        changes["name"] = wanted.username
    if wanted.email is not None:
        changes["email"] = wanted.email or None
    if wanted.role is not None and wanted.role != role_of(user):
        changes["group"] = GROUPS[wanted.role]
    if wanted.password is not None:
        password_hash = await hashed_password(call, wanted.password, user.name, wanted.username or "")
        changes["password"] = wanted.password
    if not changes:
        return Answer(value=shown(user))
    patch = UserChanges(**changes)
    changed = await call.transact(write_changes, call.actor, user.id, patch, password_hash, call.version, call.now_utc)
    return Answer(value=shown(changed))


async def delete_user(call: Call[None, None]) -> Answer:
    """Delete a user."""
    user = await found_one(call)
    try:
        await call.transact(write_removal, call.actor, user.id, call.version, call.now_utc)
    except NotAllowed as exc:
        raise NotAllowed("Cannot delete the last administrator") from exc
    return Answer()


async def found_one(call: Call[Any, None]) -> User:
    """By id or name. Raises Problem; for one of the configuration that it is there."""
    user = await found_user(call, call.path["user"])
    if not user.is_active:
        raise not_found("User")
    return user


async def write_removal(
    connection: AsyncConnection, actor: Actor, user_id: int, version: int | None, now_utc: float
) -> None:
    user, _ = await users.delete_user(connection, user_id, version, now_utc)
    check_reserved(actor, user)
    await note(connection, actor, "user.delete", "user", user.name, user, None, now_utc)


def shown(user: User) -> UserShown:
    return UserShown(
        id=user.uuid,
        username=user.name,
        role=role_of(user),
        email=user.email,
        created_at=at(user.created_utc),
        last_login=moment(user.last_login_utc),
    )


def show_configured(user: UserSpec) -> UserShown:
    role: RoleName = "admin" if user.group == ADMIN else "viewer"
    return UserShown(id=user.name, username=user.name, role=role, source=CONFIGURATION)


P = Permission
TAG = "llmlb: users"
_ONE = "/users/{user}"
ENDPOINTS = (
    Endpoint("GET", "/users", P.USERS_READ, theirs(list_users), answer=UsersShown, tag=TAG),
    Endpoint(
        "POST", "/users", P.USERS_WRITE, theirs(create_user), UserWantedThere, answer=UserMade, status=201, tag=TAG
    ),
    Endpoint("PUT", _ONE, P.USERS_WRITE, theirs(change_user), UserChangesThere, answer=UserShown, tag=TAG),
    Endpoint("DELETE", _ONE, P.USERS_WRITE, theirs(delete_user), status=204, tag=TAG),
)
