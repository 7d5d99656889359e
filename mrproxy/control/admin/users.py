"""Shell. `/users`: who there is. Those of the configuration are shown, and changed there only.

A user is named by its uuid or, where that is handier, by its name. Read next: `mrproxy/storage/people/users.py`.
"""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.giving import check_reserved
from mrproxy.control.admin.groups import group_named
from mrproxy.control.admin.listing import BothQuery, fetch_by, is_found, page_of_both
from mrproxy.control.admin.secrets import hashed_password
from mrproxy.control.admin.shapes import (
    CONFIGURATION,
    MANAGED,
    LimitChanges,
    LimitFields,
    Models,
    Name,
    Short,
    Source,
    Text,
    Wanted,
    Weight,
    changes_of,
    configured_problem,
    fields_of,
    limits_shown,
    limits_wanted,
    moment,
    must_be,
)
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.pages import Listing, answer_page
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import Permission
from mrproxy.link.snapshot import UserSpec
from mrproxy.storage.people import users
from mrproxy.storage.people.groups import find_group_by_name
from mrproxy.storage.people.sessions import revoke_sessions
from mrproxy.storage.people.values import NewUser, User, UserFilter

Password = Annotated[str, Meta(min_length=1, max_length=1000)]
Email = Annotated[str, Meta(max_length=254)]


class UserShown(msgspec.Struct, frozen=True, kw_only=True):
    """`limits` and `weight` are its own; null is the group's. `is_overridden`: the configuration has the name."""

    id: str
    name: str
    source: Source
    group: str
    roles: list[str]
    email: str | None = None
    full_name: str = ""
    college: str = ""
    department: str = ""
    intended_use: str = ""
    weight: int | None = None
    models: tuple[str, ...] | None = None
    limits: LimitFields = LimitFields()
    has_password: bool = False
    must_change_password: bool = False
    is_active: bool = True
    is_overridden: bool = False
    failed_logins: int = 0
    locked_until_utc: datetime | None = None
    last_login_utc: datetime | None = None
    created_utc: datetime | None = None
    updated_utc: datetime | None = None
    version: int = 0


class UserWanted(Wanted, frozen=True, kw_only=True):
    """Without a password the user signs in elsewhere, or not at all."""

    name: Name
    group: Name = "other"
    email: Email | None = None
    full_name: Short = ""
    college: Short = ""
    department: Short = ""
    intended_use: Text = ""
    weight: Weight | None = None
    models: Models | None = None
    password: Password | None = None
    must_change_password: bool = False
    is_active: bool = True
    limits: LimitFields = LimitFields()


class UserChanges(Wanted, frozen=True, kw_only=True):
    """A new password ends the user's sessions, and so does deactivating it."""

    name: Name | UnsetType = UNSET
    group: Name | UnsetType = UNSET
    email: Email | UnsetType | None = UNSET
    full_name: Short | UnsetType = UNSET
    college: Short | UnsetType = UNSET
    department: Short | UnsetType = UNSET
    intended_use: Text | UnsetType = UNSET
    weight: Weight | UnsetType | None = UNSET
    models: Models | UnsetType | None = UNSET
    password: Password | UnsetType | None = UNSET
    must_change_password: bool | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    limits: LimitChanges | UnsetType = UNSET


class UsersQuery(BothQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    group: Annotated[str, Meta(max_length=128)] = ""
    is_active: bool | None = None


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """`is_gone` false: traces of it are left, so it was deactivated, and its keys and sessions are revoked."""

    id: str
    is_gone: bool


async def list_users(call: Call[None, UsersQuery]) -> Answer:
    """List users."""
    query, configured = call.query, call.plane.configured()
    names = {each.name for each in configured.users}
    own = [
        show_configured(each)
        for each in sorted(configured.users, key=lambda each: each.name)
        if is_found(query.search, each.name) and query.group in ("", each.group) and query.is_active is not False
    ]
    wanted = UserFilter(is_active=query.is_active, search=query.search)
    if query.group and call.plane.store is not None:
        group = await call.read(find_group_by_name, query.group)
        wanted = msgspec.structs.replace(wanted, group_id=0 if group is None else group.id)
    fetch = fetch_by(call, users.list_users, wanted, lambda user: shown(user, names))
    return answer_page(call, *await page_of_both(query, int, own, fetch))


async def show_user(call: Call[None, None]) -> Answer:
    """One user, by id or name."""
    name, configured = call.path["user"], call.plane.configured()
    found = None if call.plane.store is None else await call.read(find_user, name)
    if found is not None:
        return answer_user(found, {each.name for each in configured.users})
    return Answer(value=show_configured(must_be(configured_user(call, name), "user", name)))


async def create_user(call: Call[UserWanted, None]) -> Answer:
    """Make a user."""
    wanted = call.request
    if configured_user(call, wanted.name) is not None:
        raise configured_problem("user", wanted.name)
    password_hash = None
    if wanted.password is not None:
        password_hash = await hashed_password(call, wanted.password, wanted.name, wanted.email or "")
    user = await call.transact(write_new, call.actor, wanted, password_hash, call.now_utc)
    answer = answer_user(user, set())
    return replace(answer, location=f"/admin/api/v1/users/{user.uuid}")


async def change_user(call: Call[UserChanges, None]) -> Answer:
    """Change a user."""
    name, patch = call.path["user"], call.request
    user = await found_user(call, name)
    password_hash = None
    if isinstance(patch.password, str):
        password_hash = await hashed_password(call, patch.password, user.name, user.email or "")
    changed = await call.transact(write_changes, call.actor, user.id, patch, password_hash, call.version, call.now_utc)
    return answer_user(changed, {each.name for each in call.plane.configured().users})


async def delete_user(call: Call[None, None]) -> Answer:
    """Delete a user; who has left traces is deactivated."""
    user = await found_user(call, call.path["user"])
    is_gone = await call.transact(write_removal, call.actor, user.id, call.version, call.now_utc)
    return Answer(value=Removed(id=user.uuid, is_gone=is_gone))


async def unlock_user(call: Call[None, None]) -> Answer:
    """Lift the lock that failed sign-ins have put on a user."""
    user = await found_user(call, call.path["user"])
    unlocked = await call.transact(write_unlock, call.actor, user.id, call.now_utc)
    return answer_user(unlocked, {each.name for each in call.plane.configured().users})


async def found_user(call: Call[Any, Any], name: str) -> User:
    """Of the database. Raises Problem for one of the configuration."""
    found = await call.read(find_user, name)
    if found is None and configured_user(call, name) is not None:
        raise configured_problem("user", name)
    return must_be(found, "user", name)


async def find_user(connection: AsyncConnection, name: str) -> User | None:
    """By uuid or name."""
    return await users.find_user_by_uuid(connection, name) or await users.find_user_by_name(connection, name)


def configured_user(call: Call[Any, Any], name: str) -> UserSpec | None:
    return next((each for each in call.plane.configured().users if each.name == name), None)


async def write_new(
    connection: AsyncConnection, actor: Actor, wanted: UserWanted, password_hash: str | None, now_utc: float
) -> User:
    group = await group_named(connection, wanted.group)
    check_reserved(actor, group)
    plain = fields_of(wanted, NewUser)
    limits = limits_wanted(wanted.limits)
    new = NewUser(**plain | {"limits": limits, "group_id": group.id, "password_hash": password_hash})
    user = await users.create_user(connection, new, now_utc)
    await note(connection, actor, "user.create", "user", user.name, None, user, now_utc)
    return user


async def write_changes(
    connection: AsyncConnection,
    actor: Actor,
    user_id: int,
    patch: UserChanges,
    password_hash: str | None,
    version: int | None,
    now_utc: float,
) -> User:
    changes = changes_of(patch)
    if "password" in changes:
        del changes["password"]
        changes["password_hash"] = password_hash
    if "group" in changes:
        changes["group_id"] = (await group_named(connection, str(changes.pop("group")))).id
    before = await users.get_user(connection, user_id)
    after = await users.change_user(connection, user_id, changes, version, now_utc)
    check_reserved(actor, before, after)
    if "password_hash" in changes or not after.is_active:
        await revoke_sessions(connection, user_id, now_utc)
    await note(connection, actor, "user.change", "user", after.name, before, after, now_utc)
    return after


async def write_removal(
    connection: AsyncConnection, actor: Actor, user_id: int, version: int | None, now_utc: float
) -> bool:
    if actor.user_id == user_id:
        raise Problem("conflict", "You cannot delete yourself.")
    user, is_gone = await users.delete_user(connection, user_id, version, now_utc)
    check_reserved(actor, user)
    await note(connection, actor, "user.delete", "user", user.name, user, None, now_utc)
    return is_gone


async def write_unlock(connection: AsyncConnection, actor: Actor, user_id: int, now_utc: float) -> User:
    before = await users.get_user(connection, user_id)
    check_reserved(actor, before)
    await users.unlock(connection, user_id)
    after = await users.get_user(connection, user_id)
    await note(connection, actor, "user.unlock", "user", after.name, before, after, now_utc)
    return after


def answer_user(user: User, configured: set[str]) -> Answer:
    """Signing in changes it without a new version."""
    return Answer(value=shown(user, configured), version=user.version, is_live=True)


def shown(user: User, configured: set[str]) -> UserShown:
    plain = fields_of(user, UserShown)
    plain |= {name: moment(plain[name]) for name in plain if name.endswith("_utc")}
    roles = [*(["admin"] if user.is_admin else []), *(["auditor"] if user.is_auditor else []), "member"]
    ours = {"id": user.uuid, "source": MANAGED, "roles": roles, "limits": limits_shown(user.limits)}
    return UserShown(**plain | ours | {"is_overridden": user.name in configured})


def show_configured(user: UserSpec) -> UserShown:
    return UserShown(
        id=user.name,
        name=user.name,
        source=CONFIGURATION,
        group=user.group,
        roles=[*(["admin"] if user.group == "admin" else []), "member"],
        weight=user.weight,
        limits=limits_shown(user.limits),
    )


P = Permission
ENDPOINTS = (
    Endpoint("GET", "/users", P.USERS_READ, list_users, query=UsersQuery, answer=Listing[UserShown]),
    Endpoint("POST", "/users", P.USERS_WRITE, create_user, UserWanted, answer=UserShown, status=201),
    Endpoint("GET", "/users/{user}", P.USERS_READ, show_user, answer=UserShown),
    Endpoint("PATCH", "/users/{user}", P.USERS_WRITE, change_user, UserChanges, answer=UserShown),
    Endpoint("POST", "/users/{user}/unlock", P.USERS_WRITE, unlock_user, answer=UserShown, publishes=False),
    Endpoint("DELETE", "/users/{user}", P.USERS_WRITE, delete_user, answer=Removed),
)
