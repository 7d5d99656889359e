"""Shell. `/invitations` in llmlb's words: a code, shown once, by which somebody becomes a `viewer`.

Read next: `../admin/invitations.py`, which does the same in our own words; `../signin/llmlb_auth.py`, for `register`.
"""

import secrets
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from mrproxy.control.admin.invitations import CODE_PREFIX, InvitationWanted, write_new, write_revocation
from mrproxy.control.admin.secrets import digest_of
from mrproxy.control.admin.shapes import at, moment
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.llmlb.listing import read_all
from mrproxy.control.llmlb.manners import Wanted, theirs
from mrproxy.control.llmlb.users import GROUPS
from mrproxy.control.permissions import Permission
from mrproxy.storage.numbers import find_users
from mrproxy.storage.people import invitations
from mrproxy.storage.people.values import Invitation, InvitationFilter, status_of_invitation

HOUR_SECONDS = 3600.0
CODE_BYTES = 24

Hours = Annotated[int, Meta(ge=1, le=24 * 365)]


class InvitationShown(msgspec.Struct, frozen=True, kw_only=True):
    """`status`: active, used, revoked, and here also expired. `created_by` is a name, `used_by` a user's id."""

    id: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    status: str
    used_by: str | None = None
    used_at: datetime | None = None


class InvitationsShown(msgspec.Struct, frozen=True):
    invitations: list[InvitationShown]


class InvitationMade(msgspec.Struct, frozen=True, kw_only=True):
    """With the code, for the only time."""

    id: str
    code: str
    created_at: datetime
    expires_at: datetime


class InvitationWantedThere(Wanted, frozen=True, kw_only=True):
    expires_in_hours: Hours = 72


async def list_invitations(call: Call[None, None]) -> Answer:
    """List invitations."""
    found = await read_all(call, invitations.list_invitations, InvitationFilter(now_utc=call.now_utc))
    users = await call.read(find_users, {each.used_by for each in found if each.used_by is not None})
    uuids = {number: user.uuid for number, user in users.items()}
    return Answer(value=InvitationsShown([shown(each, uuids, call.now_utc) for each in found]))


async def create_invitation(call: Call[InvitationWantedThere, None]) -> Answer:
    """Invite somebody; the answer shows the code once."""
    code = CODE_PREFIX + secrets.token_urlsafe(CODE_BYTES)
    expires = at(call.now_utc + call.request.expires_in_hours * HOUR_SECONDS)
    wanted = InvitationWanted(group=GROUPS["viewer"], expires_utc=expires)
    made = await call.transact(write_new, call.actor, wanted, code, digest_of(call, code), call.now_utc)
    value = InvitationMade(id=made.uuid, code=code, created_at=at(made.created_utc), expires_at=at(made.expires_utc))
    return Answer(value=value, status=201)


async def revoke_invitation(call: Call[None, None]) -> Answer:
    """Revoke an invitation."""
    uuid = call.path["invitation"]
    await call.transact(write_revocation, call.actor, uuid, call.now_utc)
    return Answer()


def shown(invitation: Invitation, uuids: dict[int, str], now_utc: float) -> InvitationShown:
    return InvitationShown(
        id=invitation.uuid,
        created_by=invitation.created_by,
        created_at=at(invitation.created_utc),
        expires_at=at(invitation.expires_utc),
        status=status_of_invitation(invitation, now_utc),
        used_by=None if invitation.used_by is None else uuids.get(invitation.used_by),
        used_at=moment(invitation.used_utc),
    )


P = Permission
TAG = "llmlb: invitations"
ENDPOINTS = (
    Endpoint("GET", "/invitations", P.INVITATIONS_READ, theirs(list_invitations), answer=InvitationsShown, tag=TAG),
    Endpoint(
        "POST",
        "/invitations",
        P.INVITATIONS_WRITE,
        theirs(create_invitation),
        InvitationWantedThere,
        answer=InvitationMade,
        status=201,
        tag=TAG,
        publishes=False,
    ),
    Endpoint(
        "DELETE",
        "/invitations/{invitation}",
        P.INVITATIONS_WRITE,
        theirs(revoke_invitation),
        status=204,
        tag=TAG,
        publishes=False,
    ),
)
