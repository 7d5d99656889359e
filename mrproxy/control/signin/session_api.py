"""Shell. Signing in for programs and pages' scripts, below `/admin/api/v1`: JSON in, a cookie and a CSRF token out.

    POST   /session              name and password → a session
    GET    /session              who am I
    DELETE /session              sign out
    GET    /session/providers    where else one can sign in
    GET    /me/sessions          where I am signed in; DELETE one, or all but this one
    POST   /me/password          mine
    POST   /invitations/accept   become a user

Read next: `sign_in.py`, which does it; `llmlb_auth.py`, the same in another system's words.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection
from werkzeug.datastructures import Headers

from mrproxy.config import Oidc
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import Permission
from mrproxy.control.signin import csrf
from mrproxy.control.signin.audited import note
from mrproxy.control.signin.entry import farewell, welcome
from mrproxy.control.signin.identify import Identification
from mrproxy.control.signin.session_shapes import (
    InvitationAccepted,
    Me,
    NewUserShown,
    PasswordWanted,
    ProviderShown,
    ProvidersShown,
    SessionsShown,
    SignInWanted,
    me_of,
    new_user,
    session_shown,
)
from mrproxy.control.signin.sessions import actor_of
from mrproxy.control.signin.sign_in import SignIn
from mrproxy.control.signin.visitor import Visitor, visitor_of
from mrproxy.storage.people.errors import NotFound
from mrproxy.storage.people.sessions import find_session, list_sessions, revoke_session, revoke_sessions
from mrproxy.storage.people.users import find_user, get_user
from mrproxy.storage.people.values import Session

P = Permission
AnyCall = Call[Any, Any]


@dataclass(frozen=True, slots=True)
class SessionApi:
    """`endpoints` are rows of the API's table; handlers are bound to what they need."""

    sign_in: SignIn
    identification: Identification
    providers: tuple[Oidc, ...] = ()

    def endpoints(self) -> tuple[Endpoint, ...]:
        tag = "session"
        return (
            Endpoint("POST", "/session", P.SIGN_IN, self.open, request=SignInWanted, answer=Me, status=201,
                     summary="Sign in with name and password", tag=tag, publishes=False),
            Endpoint("GET", "/session", P.OWN_PROFILE_READ, self.show, answer=Me, summary="Who am I", tag=tag),
            Endpoint("DELETE", "/session", P.SIGN_IN, self.close, status=204, summary="Sign out", tag=tag,
                     publishes=False),
            Endpoint("GET", "/session/providers", P.PUBLIC, self.list_providers, answer=ProvidersShown,
                     summary="Where else one can sign in", tag=tag),
            Endpoint("GET", "/me/sessions", P.OWN_SESSIONS, self.list, answer=SessionsShown,
                     summary="Where I am signed in", tag=tag),
            Endpoint("DELETE", "/me/sessions", P.OWN_SESSIONS, self.close_others, status=204,
                     summary="Sign out everywhere else", tag=tag, publishes=False),
            Endpoint("DELETE", "/me/sessions/{session}", P.OWN_SESSIONS, self.close_one, status=204,
                     summary="Sign out there", tag=tag, publishes=False),
            Endpoint("POST", "/me/password", P.OWN_PASSWORD, self.change_password, request=PasswordWanted, status=204,
                     summary="Change my password; ends all my other sessions", tag=tag, publishes=False),
            Endpoint("POST", "/invitations/accept", P.SIGN_IN, self.accept, request=InvitationAccepted,
                     answer=NewUserShown, status=201, summary="Become a user with an invitation's code", tag=tag),
        )  # fmt: skip

    def visitor(self, call: AnyCall) -> Visitor:
        return visitor_of(Headers(dict(call.headers)), self.sign_in.sessions.keys, self.identification.cookie_secure)

    async def open(self, call: Call[SignInWanted, None]) -> Answer:
        visitor = self.visitor(call)
        if not csrf.is_from_here(Headers(dict(call.headers))):  # nobody is to be signed in as somebody else
            raise Problem("forbidden", "This request comes from another site.")
        opened = await self.sign_in.with_password(call.request.name, call.request.password, visitor, "cookie")
        actor = actor_of(opened.session, opened.user, visitor)
        return Answer(value=me_of(actor, opened.user, *self._proof(opened.session)), headers=welcome(opened, visitor))

    async def show(self, call: AnyCall) -> Answer:
        user_id, session_id = call.actor.user_id, call.actor.session
        if user_id is None:
            return Answer(value=me_of(call.actor, None))
        user = await call.read(get_user, user_id)
        found = None if session_id is None else await call.read(find_session, session_id, call.now_utc)
        return Answer(value=me_of(call.actor, user, *self._proof(found[0] if found is not None else None)))

    async def close(self, call: AnyCall) -> Answer:
        """Whoever is not signed in is signed out already. But another site may not sign anybody out."""
        visitor = self.visitor(call)
        if not csrf.is_from_here(Headers(dict(call.headers))):
            raise Problem("forbidden", "This request comes from another site.")
        if call.actor.session is not None:
            await call.transact(self.write_close, call.actor, call.actor.session)
        elif await self.identification.of_cookie(visitor) is not None:
            raise Problem("forbidden", f"The header {csrf.HEADER} is missing, or is not that of this session.")
        return Answer(headers=farewell(visitor))

    async def list_providers(self, call: AnyCall) -> Answer:
        shown = [
            ProviderShown(name=each.name, label=each.label, url=f"/login/oidc/{each.name}") for each in self.providers
        ]
        return Answer(value=ProvidersShown(items=shown))

    async def list(self, call: AnyCall) -> Answer:
        found = await call.read(list_sessions, call.user_id, call.now_utc)
        return Answer(value=SessionsShown(items=[session_shown(each, call.actor) for each in found]))

    async def close_others(self, call: AnyCall) -> Answer:
        await call.transact(revoke_sessions, call.user_id, call.now_utc, call.actor.session or "")
        return Answer()

    async def close_one(self, call: AnyCall) -> Answer:
        await call.transact(close_own, call.user_id, call.path["session"], call.now_utc)
        return Answer()

    async def change_password(self, call: Call[PasswordWanted, None]) -> Answer:
        visitor, wanted = self.visitor(call), call.request
        headers = await self.changed_password(call.actor, wanted.current_password, wanted.new_password, visitor)
        return Answer(headers=headers)

    async def changed_password(
        self, actor: Actor, current: str | None, new: str, visitor: Visitor
    ) -> tuple[tuple[str, str], ...]:
        """Of a cookie's session a new one is made: what it was worth has changed. Returns its cookies."""
        sessions = self.sign_in.sessions
        session = await self._session_of(actor)
        await self.sign_in.change_password(actor, session, current, new, visitor)
        if session is None or session.kind != "cookie":
            return ()
        user = await sessions.reach.read(get_user, session.user_id)
        return welcome(await sessions.reach.transact(sessions.open, user, "cookie", visitor), visitor)

    async def accept(self, call: Call[InvitationAccepted, None]) -> Answer:
        wanted = call.request
        user = await self.sign_in.accept_invitation(wanted.code, new_user(wanted), wanted.password, self.visitor(call))
        return Answer(value=NewUserShown(id=user.uuid, name=user.name, group=user.group))

    def _proof(self, session: Session | None) -> tuple[str | None, float | None]:
        if session is None:
            return None, None
        token = csrf.token_of(self.sign_in.sessions.keys, session.id) if session.kind == "cookie" else None
        return token, session.expires_utc

    async def _session_of(self, actor: Actor) -> Session | None:
        if actor.session is None:
            return None
        sessions = self.sign_in.sessions
        found = await sessions.reach.read(find_session, actor.session, sessions.clock())
        return None if found is None else found[0]

    async def write_close(self, connection: AsyncConnection, actor: Actor, session: str) -> None:
        now_utc = self.sign_in.sessions.clock()
        user = None if actor.user_id is None else await find_user(connection, actor.user_id)
        await revoke_session(connection, session, now_utc)
        await note(connection, actor, "auth.logout", user, now_utc)


async def close_own(connection: AsyncConnection, user_id: int, session_id: str, now_utc: float) -> None:
    """Raises NotFound for a session that is somebody else's."""
    if session_id not in {each.id for each in await list_sessions(connection, user_id, now_utc)}:
        raise NotFound("session", session_id[:64])
    await revoke_session(connection, session_id, now_utc)
