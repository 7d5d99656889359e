"""Shell. Invitations: a code, good once and for a while, for making oneself a user in a given group.

The code is shown once; here is its digest. See the package for the rules that hold here.
"""

from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import ColumnElement, Select, and_, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.facts import take_turn
from mrproxy.storage.people.checks import check_email, check_moment, check_text, clean
from mrproxy.storage.people.errors import Invalid, NotAllowed, NotFound, Taken
from mrproxy.storage.people.groups import get_group
from mrproxy.storage.people.pages import AnyRow, count_rows, read_page
from mrproxy.storage.people.users import create_user
from mrproxy.storage.people.values import (
    Invitation,
    InvitationFilter,
    NewInvitation,
    NewUser,
    Page,
    User,
    status_of_invitation,
)
from mrproxy.storage.schema_people import groups, invitations

SELECTION = select(invitations, groups.c.name.label("group")).select_from(
    invitations.join(groups, invitations.c.group_id == groups.c.id)
)


async def create_invitation(connection: AsyncConnection, wanted: NewInvitation, now_utc: float) -> Invitation:
    """Raises NotFound (the group), Taken (the digest), Invalid."""
    values = {
        "digest": check_text("digest", wanted.digest, 200),
        "prefix": check_text("prefix", wanted.prefix, 32),
        "group_id": wanted.group_id,
        "email": check_email("email", wanted.email),
        "created_by": clean(wanted.created_by),
        "expires_utc": check_moment("expires_utc", wanted.expires_utc),
    }
    if wanted.expires_utc <= now_utc:
        raise Invalid("expires_utc", "must be in the future")
    await take_turn(connection)
    await get_group(connection, wanted.group_id)
    if await find_invitation_by_digest(connection, wanted.digest) is not None:
        raise Taken("digest")
    made = insert(invitations).values(**values, uuid=str(uuid4()), created_utc=now_utc).returning(invitations.c.id)
    return await get_invitation(connection, (await connection.execute(made)).scalar_one())


async def find_invitation(connection: AsyncConnection, invitation_id: int) -> Invitation | None:
    return await _find(connection, invitations.c.id == invitation_id)


async def find_invitation_by_uuid(connection: AsyncConnection, uuid: str) -> Invitation | None:
    return await _find(connection, invitations.c.uuid == clean(uuid))


async def find_invitation_by_digest(connection: AsyncConnection, digest: str) -> Invitation | None:
    return await _find(connection, invitations.c.digest == clean(digest))


async def get_invitation(connection: AsyncConnection, invitation_id: int) -> Invitation:
    """Raises NotFound."""
    invitation = await find_invitation(connection, invitation_id)
    if invitation is None:
        raise NotFound("invitation", invitation_id)
    return invitation


async def list_invitations(
    connection: AsyncConnection, wanted: InvitationFilter, behind: int | None = None, limit: int = 100, skip: int = 0
) -> Page[Invitation]:
    return await read_page(
        connection, _selection(wanted), invitations.c.id, invitation_of, behind, limit, skip=skip, is_newest_first=True
    )


async def count_invitations(connection: AsyncConnection, wanted: InvitationFilter) -> int:
    return await count_rows(connection, _selection(wanted).with_only_columns(invitations.c.id))


async def revoke_invitation(connection: AsyncConnection, invitation_id: int, now_utc: float) -> Invitation:
    """Raises NotFound; NotAllowed for one that was used. Twice is as good as once."""
    await take_turn(connection)
    invitation = await get_invitation(connection, invitation_id)
    if invitation.used_utc is not None:
        raise NotAllowed("the invitation has been used")
    if invitation.revoked_utc is None:
        revoked = update(invitations).where(invitations.c.id == invitation_id).values(revoked_utc=now_utc)
        await connection.execute(revoked)
    return await get_invitation(connection, invitation_id)


async def accept_invitation(connection: AsyncConnection, digest: str, wanted: NewUser, now_utc: float) -> User:
    """The user that was invited; in the invitation's group, whatever `wanted` says, and with its address if it has one.

    Raises NotFound for an unknown code, NotAllowed for one that is not good any more, Taken, Invalid.
    """
    await take_turn(connection)
    invitation = await find_invitation_by_digest(connection, digest)
    if invitation is None:
        raise NotFound("invitation", "with this code")
    status = status_of_invitation(invitation, now_utc)
    if status != "active":
        raise NotAllowed(f"the invitation is {status}")
    email = invitation.email or wanted.email
    changed = msgspec.structs.replace(wanted, group_id=invitation.group_id, email=email)
    user = await create_user(connection, changed, now_utc)
    used = update(invitations).where(invitations.c.id == invitation.id).values(used_utc=now_utc, used_by=user.id)
    await connection.execute(used)
    return user


def invitation_of(row: AnyRow) -> Invitation:
    fields = row._mapping
    return Invitation(**{name: fields[name] for name in Invitation.__struct_fields__})


async def _find(connection: AsyncConnection, condition: ColumnElement[bool]) -> Invitation | None:
    row = (await connection.execute(SELECTION.where(condition))).first()
    return None if row is None else invitation_of(row)


def _selection(wanted: InvitationFilter) -> Select[Any]:
    table = invitations.c
    is_open = and_(table.used_utc.is_(None), table.revoked_utc.is_(None))
    match wanted.status:
        case None:
            return SELECTION
        case "used":
            return SELECTION.where(table.used_utc.is_not(None))
        case "revoked":
            return SELECTION.where(table.revoked_utc.is_not(None), table.used_utc.is_(None))
        case "expired":
            return SELECTION.where(is_open, table.expires_utc <= wanted.now_utc)
        case "active":
            return SELECTION.where(is_open, table.expires_utc > wanted.now_utc)
