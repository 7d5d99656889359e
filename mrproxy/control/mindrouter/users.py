"""Shell. `/api/admin/users`: list, make, change, delete; a new password; a key for a user.

Who has left traces is deactivated by DELETE, not deleted: records keep an owner. A key may do what its user may in
MindRouter; here it gets the scope `inference`, and an administrator's or auditor's `admin` as well, which gives no more
than the user has; `scopes` says otherwise. Read next: `people.py`, one user in full.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin import keys as own_keys
from mrproxy.control.admin import users as own
from mrproxy.control.admin.keys import KeyWanted, check_scopes
from mrproxy.control.admin.secrets import hashed_password, made_key
from mrproxy.control.admin.shapes import at, configured_problem
from mrproxy.control.admin.users import UserChanges, UserWanted, configured_user
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.problem import Detail, Problem
from mrproxy.control.mindrouter.people import (
    UserDetails,
    UserShown,
    configured_by_number,
    details,
    details_of_configured,
    show_configured,
    shown,
)
from mrproxy.control.mindrouter.values import (
    Done,
    MomentText,
    Name,
    Number,
    PageQuery,
    Search,
    Short,
    Text,
    changes_in,
    continued,
    not_found,
    number_in,
    seconds_of,
)
from mrproxy.control.permissions import Permission
from mrproxy.storage.numbers import numbers_of, titles_of_groups
from mrproxy.storage.people import users
from mrproxy.storage.people.groups import find_group
from mrproxy.storage.people.values import Page, User, UserFilter

Password = Annotated[str, Meta(min_length=8, max_length=1000)]
Email = Annotated[str, Meta(min_length=3, max_length=254)]
Scope = Annotated[str, Meta(min_length=1, max_length=64)]


class UsersShown(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    skip: int
    limit: int
    users: list[UserShown]


class NewUserShown(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    uuid: str
    username: str
    email: str | None
    role: str
    group_id: int
    group_name: str
    full_name: str
    is_active: bool


class MadeKeyShown(msgspec.Struct, frozen=True, kw_only=True):
    """`full_key` is shown here, and nowhere else."""

    id: int
    key_prefix: str
    full_key: str
    name: str


class NewUserWanted(msgspec.Struct, frozen=True, kw_only=True):
    """`role` is of their past, and read past."""

    username: Name
    email: Email
    password: Password
    group_id: Number
    full_name: Short | None = None
    college: Short | None = None
    department: Short | None = None
    intended_use: Text | None = None


class UserPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What is not named stays; null empties."""

    group_id: Number | UnsetType = UNSET
    full_name: Short | UnsetType | None = UNSET
    college: Short | UnsetType | None = UNSET
    department: Short | UnsetType | None = UNSET
    intended_use: Text | UnsetType | None = UNSET
    is_active: bool | UnsetType = UNSET


class NewPassword(msgspec.Struct, frozen=True, kw_only=True):
    new_password: Password


class NewKeyWanted(msgspec.Struct, frozen=True, kw_only=True):
    """`scopes` is ours."""

    name: Name
    expires_at: MomentText | None = None
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=50)] | None = None


class UsersQuery(PageQuery, frozen=True, kw_only=True):
    group_id: Number | None = None
    search: Search = ""


async def list_users(call: Call[None, UsersQuery]) -> Answer:
    """List users."""
    query = call.query
    configured = {each.name: each for each in call.plane.configured().users}
    named = {each.group for each in configured.values()}
    page, total, managed, titles, groups = await call.read(read_users, query, list(configured), list(named))
    others = [
        show_configured(each, groups)
        for each in sorted(configured.values(), key=lambda each: each.name)
        if each.name not in managed and query.search.casefold() in each.name.casefold()
    ]
    if query.group_id is not None:
        others = [each for each in others if each.group_id == query.group_id]
    found, count = continued([shown(each, titles) for each in page.rows], total, others, query)
    return Answer(value=UsersShown(total=count, skip=query.skip, limit=query.limit, users=found))


async def create_user(call: Call[NewUserWanted, None]) -> Answer:
    """Make a user with a password."""
    wanted = call.request
    if configured_user(call, wanted.username) is not None:
        raise configured_problem("user", wanted.username)
    hashed = await hashed_password(call, wanted.password, wanted.username, wanted.email)
    made, title = await call.transact(write_new, call.actor, wanted, hashed, call.now_utc)
    plain = msgspec.structs.asdict(shown(made, {made.group_id: title}))
    return Answer(value=msgspec.convert(plain, NewUserShown))


async def show_user(call: Call[None, None]) -> Answer:
    """One user, with usage, limits and keys."""
    number = number_in(call, "user_id")
    spec = configured_by_number(call, number)
    if spec is not None:
        return Answer(value=await call.read(details_of_configured, spec, call.now_utc))
    found = await call.read(details, number, call.now_utc)
    if found is None:
        raise not_found("User")
    return Answer(value=found)


async def change_user(call: Call[UserPatch, None]) -> Answer:
    """Change a user's profile, group or status."""
    changes = changes_in(call.request)
    found = await found_user(call)
    await call.transact(write_changes, call.actor, found.id, changes, call.version, call.now_utc)
    return Answer(value=Done(status="updated", user_id=found.id))


async def delete_user(call: Call[None, None]) -> Answer:
    """Delete a user; who has left traces is deactivated."""
    found = await found_user(call)
    if call.actor.user_id == found.id:
        raise Problem("malformed", "Cannot delete your own account")
    is_gone = await call.transact(own.write_removal, call.actor, found.id, call.version, call.now_utc)
    return Answer(value=Done(status="deleted" if is_gone else "deactivated", user_id=found.id))


async def reset_password(call: Call[NewPassword, None]) -> Answer:
    """Give a user another password; the sessions end."""
    found, password = await found_user(call), call.request.new_password
    if not found.has_password:
        raise Problem("malformed", "This user signs in elsewhere and has no password here")
    hashed = await hashed_password(call, password, found.name, found.email or "")
    patch = UserChanges(password=password, must_change_password=False)
    await call.transact(own.write_changes, call.actor, found.id, patch, hashed, None, call.now_utc)
    return Answer(value=Done(status="password_reset", user_id=found.id))


async def create_key(call: Call[NewKeyWanted, None]) -> Answer:
    """Make a key for a user; the answer shows it once."""
    wanted, found = call.request, await found_user(call)
    scopes = wanted.scopes or (("inference", "admin") if found.is_admin or found.is_auditor else ("inference",))
    check_scopes(scopes)
    seconds = seconds_of(wanted.expires_at, "/expires_at")
    expires = None if seconds is None else at(seconds)
    key = KeyWanted(name=wanted.name, user=found.uuid, scopes=scopes, expires_utc=expires)
    made = await made_key(call)
    row = await call.transact(own_keys.write_new, call.actor, key, made, call.now_utc)
    return Answer(value=MadeKeyShown(id=row.id, key_prefix=row.prefix, full_key=made.key, name=row.name))


async def found_user(call: Call[Any, Any]) -> User:
    """Of the database. Raises Problem for one of the configuration."""
    number = number_in(call, "user_id")
    found = await call.read(users.find_user, number)
    if found is not None:
        return found
    spec = configured_by_number(call, number)
    raise not_found("User") if spec is None else configured_problem("user", spec.name)


async def read_users(
    connection: AsyncConnection, query: UsersQuery, configured: list[str], groups: list[str]
) -> tuple[Page[User], int, dict[str, int], dict[int, str], dict[str, int]]:
    """A page, how many there are, which of the configured ones are managed as well, groups' titles and numbers."""
    wanted = UserFilter(group_id=query.group_id, search=query.search)
    page = await users.list_users(connection, wanted, None, query.limit, query.skip)
    total = await users.count_users(connection, wanted)
    managed = await numbers_of(connection, "user", configured)
    titles = await titles_of_groups(connection)
    return page, total, managed, titles, await numbers_of(connection, "group", groups)


async def write_new(
    connection: AsyncConnection, actor: Actor, wanted: NewUserWanted, hashed: str, now_utc: float
) -> tuple[User, str]:
    group = await find_group(connection, wanted.group_id)
    if group is None:
        raise Problem("malformed", f"Group with id {wanted.group_id} not found")
    if await users.find_user_by_email(connection, wanted.email) is not None:
        raise Problem("conflict", f"Email '{wanted.email}' already exists", errors=(Detail("/email", "is taken"),))
    user = UserWanted(
        name=wanted.username,
        group=group.name,
        email=wanted.email,
        full_name=wanted.full_name or "",
        college=wanted.college or "",
        department=wanted.department or "",
        intended_use=wanted.intended_use or "",
    )
    return await own.write_new(connection, actor, user, hashed, now_utc), group.display_name or group.name


async def write_changes(
    connection: AsyncConnection,
    actor: Actor,
    row: int,
    changes: dict[str, Any],
    version: int | None,
    now_utc: float,
) -> User:
    plain: dict[str, Any] = {
        name: "" if value is None else value for name, value in changes.items() if name != "group_id"
    }
    if "group_id" in changes:
        group = await find_group(connection, changes["group_id"])
        if group is None:
            raise Problem("malformed", f"Group with id {changes['group_id']} not found")
        plain["group"] = group.name
    return await own.write_changes(connection, actor, row, UserChanges(**plain), None, version, now_utc)


P = Permission
TAG = "MindRouter: users"
_ONE = "/users/{user_id}"
ENDPOINTS = (
    Endpoint("GET", "/users", P.USERS_READ, list_users, query=UsersQuery, answer=UsersShown, tag=TAG),
    Endpoint("POST", "/users", P.USERS_WRITE, create_user, NewUserWanted, answer=NewUserShown, tag=TAG),
    Endpoint("GET", _ONE, P.USERS_READ, show_user, answer=UserDetails, tag=TAG),
    Endpoint("PATCH", _ONE, P.USERS_WRITE, change_user, UserPatch, answer=Done, tag=TAG),
    Endpoint("DELETE", _ONE, P.USERS_WRITE, delete_user, answer=Done, tag=TAG),
    Endpoint("POST", f"{_ONE}/reset-password", P.USERS_WRITE, reset_password, NewPassword, answer=Done, tag=TAG),
    Endpoint("POST", f"{_ONE}/api-keys", P.KEYS_WRITE, create_key, NewKeyWanted, answer=MadeKeyShown, tag=TAG),
)
