"""Shell. Whom a provider's word makes here: the user that the identity belongs to, or a new one.

    known identity            → its user
    verified address          → the user who has it and is nobody's yet, if `links_by_email` says that this provider
                                may speak for it
    nobody                    → a new user, in the group that the table or `default_group` says

Nobody's is a user without password and without identity, such as an administrator makes for somebody who is to come:
anybody may put another one's address into his own profile, and would otherwise share an account with its owner.
A name alone never makes somebody a user who is there already: at most providers people choose it themselves. A group of
the table is given anew at each sign-in; who is in no row keeps what he has. Where that would leave nobody an
administrator, he stays one.
Functions for `Reach.transact`, except `admit`. Read next: `claims.py`.
"""

import unicodedata
from collections.abc import Iterator

from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.config import Oidc
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.problem import Problem
from mrproxy.control.signin.audited import note
from mrproxy.control.signin.oidc.claims import Person
from mrproxy.control.signin.reach import Reach, is_away
from mrproxy.storage.people.checks import UNSEEN
from mrproxy.storage.people.groups import find_group_by_name
from mrproxy.storage.people.sessions import find_user_by_identity, link_identity, list_identities
from mrproxy.storage.people.users import change_user, create_user, find_user_by_email, find_user_by_name
from mrproxy.storage.people.values import Group, NewIdentity, NewUser, User

MAX_NAME_CHARACTERS = 80
MORE_NAMES = 20


class NotAdmitted(Exception):
    """The reason is for the log."""


async def admit(reach: Reach, person: Person, provider: Oidc, actor: Actor, now_utc: float) -> User:
    """Raises NotAdmitted, Problem."""
    user = await reach.transact(found_or_made, person, provider, actor, now_utc)
    if not user.is_active:
        raise NotAdmitted(f"user {user.id} is deactivated")
    if person.group is None or person.group == user.group:
        return user
    try:
        return await reach.transact(moved, user, person.group, actor, now_utc)
    except Problem as problem:
        if is_away(problem):
            raise
        return user  # the last administrator


async def found_or_made(
    connection: AsyncConnection, person: Person, provider: Oidc, actor: Actor, now_utc: float
) -> User:
    user = await find_user_by_identity(connection, person.issuer, person.subject)
    if user is not None:
        return user
    if provider.links_by_email and person.email is not None:
        user = await nobodys(connection, person.email)
    if user is None:
        user = await made(connection, person, provider, actor, now_utc)
    wanted = NewIdentity(user_id=user.id, issuer=person.issuer, subject=person.subject, email=person.email)
    await link_identity(connection, wanted, now_utc)
    await note(connection, actor, "user.link_identity", user, now_utc, detail=provider.name)
    return user


async def nobodys(connection: AsyncConnection, email: str) -> User | None:
    user = await find_user_by_email(connection, email)
    if user is None or user.has_password or await list_identities(connection, user.id):
        return None
    return user


async def made(connection: AsyncConnection, person: Person, provider: Oidc, actor: Actor, now_utc: float) -> User:
    group = await group_called(connection, person.group or provider.default_group)
    name = await free_name(connection, person, provider)
    wanted = NewUser(name=name, group_id=group.id, email=person.email, full_name=plain(person.full_name, 200))
    user = await create_user(connection, wanted, now_utc)
    await note(connection, actor, "user.create", user, now_utc, detail=f"first sign-in by {provider.name}")
    return user


async def moved(connection: AsyncConnection, user: User, group_name: str, actor: Actor, now_utc: float) -> User:
    group = await group_called(connection, group_name)
    changed = await change_user(connection, user.id, {"group_id": group.id}, None, now_utc)
    await note(connection, actor, "user.change", changed, now_utc, detail=f"{user.group} → {changed.group}")
    return changed


async def group_called(connection: AsyncConnection, name: str) -> Group:
    """Raises NotAdmitted."""
    if not name:
        raise NotAdmitted("no row of group_map fits, and there is no default_group")
    group = await find_group_by_name(connection, name)
    if group is None:
        raise NotAdmitted(f"there is no group {name!r}")
    return group


async def free_name(connection: AsyncConnection, person: Person, provider: Oidc) -> str:
    """What the provider calls somebody, or as near to it as is free."""
    for name in names_for(person.name, provider.name):
        if await find_user_by_name(connection, name) is None:
            return name
    raise NotAdmitted(f"all names like {plain(person.name, MAX_NAME_CHARACTERS)!r} are taken")


def names_for(name: str, provider: str) -> Iterator[str]:
    base = plain(name, MAX_NAME_CHARACTERS) or provider
    yield base
    yield f"{base} ({provider})"
    for number in range(2, MORE_NAMES):
        yield f"{base} ({provider} {number})"


def plain(text: str, limit: int) -> str:
    """Without what nobody can see or what breaks lines; such as the database takes names."""
    seen = "".join(each for each in unicodedata.normalize("NFC", text) if unicodedata.category(each) not in UNSEEN)
    return seen[:limit].strip()
