"""Pure. JSON of the endpoints of signing in: what is read and what is shown. Read next: `session_api.py`."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from mrproxy.control.api.actor import Actor
from mrproxy.storage.people.values import NewUser, Session, User

Name = Annotated[str, Meta(min_length=1, max_length=300)]
Secret = Annotated[str, Meta(min_length=1, max_length=4096)]
Short = Annotated[str, Meta(max_length=200)]


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A misspelt field is refused, not ignored."""


class SignInWanted(Wanted, frozen=True, kw_only=True):
    name: Name
    password: Secret


class PasswordWanted(Wanted, frozen=True, kw_only=True):
    """`current_password` may be left out within ten minutes of signing in."""

    new_password: Secret
    current_password: Secret | None = None


class InvitationAccepted(Wanted, frozen=True, kw_only=True):
    code: Secret
    name: Name
    password: Secret
    email: Annotated[str, Meta(max_length=254)] | None = None
    full_name: Short = ""
    college: Short = ""
    department: Short = ""
    intended_use: Annotated[str, Meta(max_length=10_000)] = ""


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is a user's uuid. `csrf_token` is for the header X-CSRF-Token, with a cookie only."""

    kind: str
    name: str
    id: str | None = None
    email: str | None = None
    full_name: str = ""
    group: str | None = None
    roles: list[str] = []
    permissions: list[str] = []
    scopes: list[str] | None = None
    key_id: str | None = None
    must_change_password: bool = False
    csrf_token: str | None = None
    expires_utc: datetime | None = None


class SessionShown(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: str
    is_current: bool
    address: str
    user_agent: str
    created_utc: datetime
    seen_utc: datetime
    expires_utc: datetime


class SessionsShown(msgspec.Struct, frozen=True, kw_only=True):
    items: list[SessionShown]


class ProviderShown(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    label: str
    url: str


class ProvidersShown(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ProviderShown]


class NewUserShown(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    group: str


def me_of(actor: Actor, user: User | None, csrf_token: str | None = None, expires_utc: float | None = None) -> Me:
    return Me(
        kind=actor.kind.value,
        name=actor.name,
        id=None if user is None else user.uuid,
        email=None if user is None else user.email,
        full_name="" if user is None else user.full_name,
        group=None if user is None else user.group,
        roles=sorted(role.value for role in actor.roles),
        permissions=sorted(each.value for each in actor.permissions),
        scopes=None if actor.scopes is None else list(actor.scopes),
        key_id=actor.key_id,
        must_change_password=actor.is_password_due,
        csrf_token=csrf_token,
        expires_utc=None if expires_utc is None else at(expires_utc),
    )


def session_shown(session: Session, actor: Actor) -> SessionShown:
    return SessionShown(
        id=session.id,
        kind=session.kind,
        is_current=session.id == actor.session,
        address=session.address,
        user_agent=session.user_agent,
        created_utc=at(session.created_utc),
        seen_utc=at(session.seen_utc),
        expires_utc=at(session.expires_utc),
    )


def new_user(wanted: InvitationAccepted) -> NewUser:
    """The group is the invitation's to say."""
    return NewUser(
        name=wanted.name,
        group_id=0,
        email=wanted.email,
        full_name=wanted.full_name,
        college=wanted.college,
        department=wanted.department,
        intended_use=wanted.intended_use,
    )


def at(utc: float) -> datetime:
    return datetime.fromtimestamp(utc, UTC)
