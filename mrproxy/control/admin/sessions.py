"""Shell. `/users/{user}/sessions`: where somebody is signed in, and an end to it.

A session's id is a digest of what the browser holds, so showing it gives nothing away. One's own are a matter of
signing in (`mrproxy/control/signin/session_api.py`).
"""

from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.giving import check_reserved
from mrproxy.control.admin.shapes import at
from mrproxy.control.admin.users import found_user
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.pages import Listing
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import Permission
from mrproxy.storage.people import sessions
from mrproxy.storage.people.values import Session, SessionKind, User


class SessionShown(msgspec.Struct, frozen=True, kw_only=True):
    """`is_current`: the one that asks."""

    id: str
    kind: SessionKind
    created_utc: datetime
    seen_utc: datetime
    expires_utc: datetime
    address: str
    user_agent: str
    is_current: bool


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How many."""

    ended: int


async def list_sessions(call: Call[None, None]) -> Answer:
    """List where a user is signed in."""
    user = await found_user(call, call.path["user"])
    found = await call.read(sessions.list_sessions, user.id, call.now_utc)
    return Answer(value=Listing([shown(each, call.actor) for each in found]))


async def end_session(call: Call[None, None]) -> Answer:
    """End one session of a user."""
    user = await found_user(call, call.path["user"])
    await call.transact(write_end, call.actor, user.id, call.path["session"], call.now_utc)
    return Answer()


async def end_sessions(call: Call[None, None]) -> Answer:
    """End all sessions of a user."""
    user = await found_user(call, call.path["user"])
    return Answer(value=Ended(ended=await call.transact(write_end_all, call.actor, user, call.now_utc)))


def shown(session: Session, actor: Actor) -> SessionShown:
    return SessionShown(
        id=session.id,
        kind=session.kind,
        created_utc=at(session.created_utc),
        seen_utc=at(session.seen_utc),
        expires_utc=at(session.expires_utc),
        address=session.address,
        user_agent=session.user_agent,
        is_current=session.id == actor.session,
    )


async def write_end(connection: AsyncConnection, actor: Actor, user_id: int, session_id: str, now_utc: float) -> None:
    found = await sessions.find_session(connection, session_id, now_utc)
    if found is None or found[0].user_id != user_id:
        raise Problem("not-found", "There is no such session.")
    check_reserved(actor, found[1])
    await sessions.revoke_session(connection, session_id, now_utc)
    await note(connection, actor, "session.end", "user", found[1].name, None, None, now_utc)


async def write_end_all(connection: AsyncConnection, actor: Actor, user: User, now_utc: float) -> int:
    check_reserved(actor, user)
    ended = await sessions.revoke_sessions(connection, user.id, now_utc)
    await note(connection, actor, "session.end_all", "user", user.name, None, None, now_utc)
    return ended


P = Permission
_OF_USER = "/users/{user}/sessions"
ENDPOINTS = (
    Endpoint("GET", _OF_USER, P.SESSIONS_READ, list_sessions, answer=Listing[SessionShown]),
    Endpoint("DELETE", _OF_USER, P.SESSIONS_WRITE, end_sessions, answer=Ended, publishes=False),
    Endpoint("DELETE", f"{_OF_USER}/{{session}}", P.SESSIONS_WRITE, end_session, status=204, publishes=False),
)
