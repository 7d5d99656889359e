"""Shell. Sessions: made at each sign-in, found at each request, ended by whoever may.

A cookie holds a random token and the row its keyed digest; a token of `/v0/auth` names the row and is signed
(`tokens.py`). A session ends by itself: some time after it began, and sooner when it is not used.
"""

import secrets
from dataclasses import dataclass
from typing import Protocol

import trio
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.clock import Clock
from mrproxy.control.api.actor import Actor, ActorKind
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import roles_of
from mrproxy.control.signin.cookies import session_id
from mrproxy.control.signin.derived import DerivedKeys
from mrproxy.control.signin.reach import Reach
from mrproxy.control.signin.tokens import LIFETIME_SECONDS
from mrproxy.control.signin.visitor import Visitor
from mrproxy.storage.people.sessions import create_session, find_session, revoke_session, touch_session
from mrproxy.storage.people.values import NewSession, Session, SessionKind, User

# A list of who is signed in shows this; more often would be a write for every page.
TOUCH_SECONDS = 60.0
TOUCH_DEADLINE_SECONDS = 0.5
# So long after signing in nobody is asked for his password once more.
RECENT_SECONDS = 600.0


class SessionSettings(Protocol):
    @property
    def session_seconds(self) -> float: ...
    @property
    def session_idle_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session. `token` is for the cookie, and nowhere else."""

    session: Session
    user: User
    token: str


@dataclass(frozen=True, slots=True)
class Sessions:
    """Values only: all that changes is in the database."""

    reach: Reach
    keys: DerivedKeys
    clock: Clock
    settings: SessionSettings

    async def open(self, connection: AsyncConnection, user: User, kind: SessionKind, visitor: Visitor) -> Opened:
        """On the asyncio side, in the transaction of the sign-in. The session that the browser had is ended."""
        now_utc = self.clock()
        had = visitor.cookie_session
        if had is not None:
            await revoke_session(connection, had, now_utc)
        token = secrets.token_urlsafe(32)
        wanted = NewSession(
            id=session_id(self.keys, token),
            user_id=user.id,
            kind=kind,
            expires_utc=now_utc + (LIFETIME_SECONDS if kind == "token" else self.settings.session_seconds),
            address=visitor.address,
            user_agent=visitor.user_agent,
        )
        return Opened(await create_session(connection, wanted, now_utc), user, token)

    async def find(self, id_: str, kind: SessionKind) -> tuple[Session, User] | None:
        """One that is good now; it counts as used. Raises Problem when the database is away."""
        now_utc = self.clock()
        found = await self.reach.read(find_session, id_, now_utc)
        if found is None or found[0].kind != kind:
            return None
        idle_seconds = now_utc - found[0].seen_utc
        if kind == "cookie" and idle_seconds > self.settings.session_idle_seconds:
            return None
        if idle_seconds > TOUCH_SECONDS:
            await self._touch(id_, now_utc)
        return found

    async def close(self, id_: str) -> bool:
        return await self.reach.transact(revoke_session, id_, self.clock())

    def is_recent(self, session: Session) -> bool:
        return self.clock() - session.created_utc <= RECENT_SECONDS

    async def _touch(self, id_: str, now_utc: float) -> None:
        """Not worth waiting for, and no reason to refuse anybody."""
        with trio.move_on_after(TOUCH_DEADLINE_SECONDS):
            try:
                await self.reach.transact(touch_session, id_, now_utc)
            except Problem:
                return


def actor_of(session: Session, user: User, visitor: Visitor) -> Actor:
    return Actor(
        kind=ActorKind.USER,
        name=user.name,
        user_id=user.id,
        roles=roles_of(is_admin=user.is_admin, is_auditor=user.is_auditor),
        session=session.id,
        is_password_due=user.must_change_password,
        address=visitor.address,
        request_id=visitor.request_id,
    )
