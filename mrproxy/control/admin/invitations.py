"""Shell. `/invitations`: codes by which people make their own accounts. A code is shown once.

They are accepted at sign-in (`mrproxy/control/signin`). Read next: `storage/people/invitations.py`.
"""

import secrets
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.giving import check_reserved
from mrproxy.control.admin.groups import group_named
from mrproxy.control.admin.listing import RowKey
from mrproxy.control.admin.secrets import digest_of
from mrproxy.control.admin.shapes import Moment, Name, Wanted, at, fields_of, moment, must_be, name_of, seconds_of
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.pages import Listing, PageQuery, answer_page
from mrproxy.control.permissions import Permission
from mrproxy.storage.people import invitations
from mrproxy.storage.people.values import (
    Invitation,
    InvitationFilter,
    InvitationStatus,
    NewInvitation,
    status_of_invitation,
)

CODE_PREFIX = "inv_"
PREFIX_CHARACTERS = 10
GOOD_SECONDS = 7 * 86_400.0


class InvitationShown(msgspec.Struct, frozen=True, kw_only=True):
    """`prefix`: the first characters of the code, to recognise it by."""

    id: str
    prefix: str
    group: str
    status: InvitationStatus
    email: str | None
    created_by: str
    created_utc: datetime
    expires_utc: datetime
    used_utc: datetime | None
    revoked_utc: datetime | None


class InvitationMade(InvitationShown, frozen=True, kw_only=True):
    """With the code itself, for the only time."""

    code: str


class InvitationWanted(Wanted, frozen=True, kw_only=True):
    """Good for seven days, unless said otherwise. With `email`, the new user has this address."""

    group: Name = "other"
    email: Annotated[str, Meta(max_length=254)] | None = None
    expires_utc: Moment | None = None


class InvitationsQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    status: InvitationStatus | None = None


async def list_invitations(call: Call[None, InvitationsQuery]) -> Answer:
    """List invitations, the newest first."""
    wanted = InvitationFilter(status=call.query.status, now_utc=call.now_utc)
    behind = call.query.behind(RowKey)
    page = await call.read(invitations.list_invitations, wanted, behind, call.query.limit)
    return answer_page(call, [shown(each, call.now_utc) for each in page.rows], page.following)


async def show_invitation(call: Call[None, None]) -> Answer:
    """One invitation."""
    found = await call.read(invitations.find_invitation_by_uuid, call.path["invitation"])
    return Answer(value=shown(must_be(found, "invitation", call.path["invitation"]), call.now_utc))


async def create_invitation(call: Call[InvitationWanted, None]) -> Answer:
    """Invite somebody; the answer shows the code once."""
    code = CODE_PREFIX + secrets.token_urlsafe(24)
    made = await call.transact(write_new, call.actor, call.request, code, digest_of(call, code), call.now_utc)
    value = InvitationMade(**msgspec.structs.asdict(shown(made, call.now_utc)), code=code)
    return Answer(value=value, location=f"/admin/api/v1/invitations/{made.uuid}")


async def revoke_invitation(call: Call[None, None]) -> Answer:
    """Revoke an invitation."""
    revoked = await call.transact(write_revocation, call.actor, call.path["invitation"], call.now_utc)
    return Answer(value=shown(revoked, call.now_utc))


async def write_new(
    connection: AsyncConnection, actor: Actor, wanted: InvitationWanted, code: str, digest: str, now_utc: float
) -> Invitation:
    group = await group_named(connection, wanted.group)
    check_reserved(actor, group)
    expires_utc = seconds_of(wanted.expires_utc)
    new = NewInvitation(
        digest=digest,
        prefix=code[:PREFIX_CHARACTERS],
        group_id=group.id,
        expires_utc=now_utc + GOOD_SECONDS if expires_utc is None else expires_utc,
        created_by=name_of(actor),
        email=wanted.email,
    )
    made = await invitations.create_invitation(connection, new, now_utc)
    await note(connection, actor, "invitation.create", "invitation", made.uuid, None, made, now_utc)
    return made


async def write_revocation(connection: AsyncConnection, actor: Actor, uuid: str, now_utc: float) -> Invitation:
    before = must_be(await invitations.find_invitation_by_uuid(connection, uuid), "invitation", uuid)
    after = await invitations.revoke_invitation(connection, before.id, now_utc)
    await note(connection, actor, "invitation.revoke", "invitation", uuid, before, after, now_utc)
    return after


def shown(invitation: Invitation, now_utc: float) -> InvitationShown:
    plain = fields_of(invitation, InvitationShown)
    plain |= {name: moment(plain[name]) for name in ("used_utc", "revoked_utc")}
    plain |= {name: at(plain[name]) for name in ("created_utc", "expires_utc")}
    ours = {"id": invitation.uuid, "status": status_of_invitation(invitation, now_utc)}
    return InvitationShown(**plain | ours)


P = Permission
_ONE = "/invitations/{invitation}"
ENDPOINTS = (
    Endpoint(
        "GET",
        "/invitations",
        P.INVITATIONS_READ,
        list_invitations,
        query=InvitationsQuery,
        answer=Listing[InvitationShown],
    ),
    Endpoint(
        "POST",
        "/invitations",
        P.INVITATIONS_WRITE,
        create_invitation,
        InvitationWanted,
        answer=InvitationMade,
        status=201,
        publishes=False,
    ),
    Endpoint("GET", _ONE, P.INVITATIONS_READ, show_invitation, answer=InvitationShown),
    Endpoint("POST", f"{_ONE}/revoke", P.INVITATIONS_WRITE, revoke_invitation, answer=InvitationShown, publishes=False),
)
