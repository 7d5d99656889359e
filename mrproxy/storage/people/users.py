"""Shell. Users: who they are, and what is theirs rather than their group's.

A name is taken whatever its case (`checks.fold`). Who has left traces (keys, requests for more, records) is
deactivated when it is deleted, so that the traces keep meaning something; who has none goes altogether.
What signing in leaves behind (last login, failures) is no change of the user: its version stays.
"""

from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import Column, ColumnElement, Select, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.facts import begin_change, take_turn
from mrproxy.storage.people.administrators import keep_an_administrator
from mrproxy.storage.people.checks import (
    MAX_SEARCH_CHARACTERS,
    Check,
    check_all,
    check_count,
    check_email,
    check_flag,
    check_name,
    check_names,
    check_text,
    check_weight,
    clean,
    fold,
    or_none,
)
from mrproxy.storage.people.columns import flattened, limit_checks, limits_of, packed, unpack
from mrproxy.storage.people.errors import Invalid, NotFound, Taken
from mrproxy.storage.people.pages import AnyRow, contains, count_rows, read_page, update_row
from mrproxy.storage.people.values import Credentials, NewUser, Page, User, UserFilter
from mrproxy.storage.schema import records
from mrproxy.storage.schema_people import api_keys, groups, identities, invitations, quota_requests, sessions, users

CHECKS: dict[str, Check] = {
    "name": check_name,
    "email": check_email,
    "full_name": lambda field, value: check_text(field, value, 200),
    "college": lambda field, value: check_text(field, value, 200),
    "department": lambda field, value: check_text(field, value, 200),
    "intended_use": check_text,
    "group_id": check_count,
    "weight": or_none(check_weight),
    "models": or_none(check_names),
    "password_hash": or_none(check_text),
    "must_change_password": check_flag,
    "is_active": check_flag,
    **limit_checks(),
}

SELECTION = select(
    users,
    groups.c.name.label("group"),
    groups.c.is_admin,
    groups.c.is_auditor,
    users.c.password_hash.is_not(None).label("has_password"),
).select_from(users.join(groups, users.c.group_id == groups.c.id))
FIELDS = [name for name in User.__struct_fields__ if name not in ("limits", "models")]


async def create_user(connection: AsyncConnection, wanted: NewUser, now_utc: float) -> User:
    """Raises Taken, Invalid."""
    values = _values(msgspec.structs.asdict(wanted))
    await begin_change(connection)
    await _check_others(connection, values)
    made = insert(users).values(**values, uuid=str(uuid4()), created_utc=now_utc, updated_utc=now_utc)
    return await get_user(connection, (await connection.execute(made.returning(users.c.id))).scalar_one())


async def find_user(connection: AsyncConnection, user_id: int) -> User | None:
    return await _find(connection, users.c.id == user_id)


async def find_user_by_name(connection: AsyncConnection, name: str) -> User | None:
    """In any case."""
    return await _find(connection, users.c.name_folded == _folded(name))


async def find_user_by_uuid(connection: AsyncConnection, uuid: str) -> User | None:
    return await _find(connection, users.c.uuid == clean(uuid))


async def find_user_by_email(connection: AsyncConnection, email: str) -> User | None:
    """In any case; None as well where several users have it, since it does not say which."""
    found = (await connection.execute(SELECTION.where(func.lower(users.c.email) == clean(email).lower()))).all()
    return user_of(found[0]) if len(found) == 1 else None


async def find_credentials(connection: AsyncConnection, name: str) -> Credentials | None:
    """For signing in with a password. In any case."""
    found = (await connection.execute(SELECTION.where(users.c.name_folded == _folded(name)))).first()
    return None if found is None else Credentials(user=user_of(found), password_hash=found.password_hash)


async def get_user(connection: AsyncConnection, user_id: int) -> User:
    """Raises NotFound."""
    user = await find_user(connection, user_id)
    if user is None:
        raise NotFound("user", user_id)
    return user


async def list_users(
    connection: AsyncConnection, wanted: UserFilter, behind: int | None = None, limit: int = 100, skip: int = 0
) -> Page[User]:
    return await read_page(connection, _selection(wanted), users.c.id, user_of, behind, limit, skip=skip)


async def count_users(connection: AsyncConnection, wanted: UserFilter) -> int:
    return await count_rows(connection, _selection(wanted).with_only_columns(users.c.id))


async def change_user(
    connection: AsyncConnection, user_id: int, changes: dict[str, object], version: int | None, now_utc: float
) -> User:
    """Raises NotFound, Changed, Taken, Invalid; NotAllowed where nobody would be an administrator any more.

    `password_hash` may be among the changes; who is signed in stays so, which is for the caller to think about.
    """
    values = _values(changes)
    await begin_change(connection)
    await _check_others(connection, values, user_id)
    async with keep_an_administrator(connection):
        await update_row(connection, users, "user", (users.c.id, user_id), values, version, now_utc)
    return await get_user(connection, user_id)


async def delete_user(
    connection: AsyncConnection, user_id: int, version: int | None, now_utc: float
) -> tuple[User, bool]:
    """What it was, and whether it is gone: if not, it is deactivated. Its keys and sessions are revoked either way.

    Raises NotFound, Changed, NotAllowed.
    """
    await begin_change(connection)
    user = await get_user(connection, user_id)
    async with keep_an_administrator(connection):
        await update_row(connection, users, "user", (users.c.id, user_id), {"is_active": False}, version, now_utc)
    for table in (api_keys, sessions):
        living = (table.c.user_id == user_id) & table.c.revoked_utc.is_(None)
        await connection.execute(update(table).where(living).values(revoked_utc=now_utc))
    if await _has_left_traces(connection, user):
        return user, False
    for owned in (sessions, identities):
        await connection.execute(delete(owned).where(owned.c.user_id == user_id))
    await connection.execute(delete(users).where(users.c.id == user_id))
    return user, True


async def record_login(connection: AsyncConnection, user_id: int, now_utc: float) -> None:
    """It went well: failures before it are forgotten."""
    await take_turn(connection)
    values = {"last_login_utc": now_utc, "failed_logins": 0, "locked_until_utc": None}
    await connection.execute(update(users).where(users.c.id == user_id).values(**values))


async def record_failed_login(connection: AsyncConnection, user_id: int, locked_until_utc: float | None = None) -> int:
    """How many in a row it is now. A lock that is there is not shortened by None."""
    await take_turn(connection)
    values: dict[str, object] = {"failed_logins": users.c.failed_logins + 1}
    if locked_until_utc is not None:
        values["locked_until_utc"] = locked_until_utc
    failed = update(users).where(users.c.id == user_id).values(**values).returning(users.c.failed_logins)
    return (await connection.execute(failed)).scalar_one_or_none() or 0


async def unlock(connection: AsyncConnection, user_id: int) -> None:
    await take_turn(connection)
    values = {"failed_logins": 0, "locked_until_utc": None}
    await connection.execute(update(users).where(users.c.id == user_id).values(**values))


def user_of(row: AnyRow) -> User:
    fields = row._mapping
    plain = {name: fields[name] for name in FIELDS}
    return User(**plain | {"models": unpack(fields["models"]), "limits": limits_of(fields)})


async def _find(connection: AsyncConnection, condition: ColumnElement[bool]) -> User | None:
    row = (await connection.execute(SELECTION.where(condition))).first()
    return None if row is None else user_of(row)


def _selection(wanted: UserFilter) -> Select[Any]:
    chosen = SELECTION
    if wanted.group_id is not None:
        chosen = chosen.where(users.c.group_id == wanted.group_id)
    if wanted.is_active is not None:
        chosen = chosen.where(users.c.is_active == wanted.is_active)
    if wanted.search:
        named = users.c.name_folded.contains(fold(_searchable(wanted.search)), autoescape=True)
        chosen = chosen.where(or_(named, contains(wanted.search, users.c.full_name, users.c.email)))
    return chosen


def _values(given: dict[str, object]) -> dict[str, Any]:
    values = packed(check_all(flattened(given), CHECKS))
    if "name" in values:
        values["name_folded"] = fold(str(values["name"]))
    return values


def _folded(name: str) -> str:
    return fold(clean(name))


def _searchable(text: str) -> str:
    return check_text("search", text, MAX_SEARCH_CHARACTERS)


async def _check_others(connection: AsyncConnection, values: dict[str, Any], but: int | None = None) -> None:
    """The name is free, and the group is there."""
    if "name_folded" in values:
        same = select(users.c.id).where(users.c.name_folded == values["name_folded"])
        found = (await connection.execute(same)).scalar_one_or_none()
        if found is not None and found != but:
            raise Taken("name", values["name"])
    if "group_id" in values:
        there = select(groups.c.id).where(groups.c.id == values["group_id"])
        if (await connection.execute(there)).first() is None:
            raise Invalid("group_id", "is no group")


async def _has_left_traces(connection: AsyncConnection, user: User) -> bool:
    refer: tuple[tuple[Column[Any], object], ...] = (
        (api_keys.c.user_id, user.id),
        (quota_requests.c.user_id, user.id),
        (invitations.c.used_by, user.id),
        (records.c.user, user.name),
    )
    for column, value in refer:
        if (await connection.execute(select(column).where(column == value).limit(1))).first() is not None:
            return True
    return False
