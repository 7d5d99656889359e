"""Shell. Signing in as llmlb's programs do: `/v0/auth/*`, and `/api/auth/*` of its other versions.

    POST login             {username, password} → {token, expires_in, user}
    POST logout            → 204; the token is worth nothing afterwards
    GET  me                → {user_id, username, role, must_change_password}
    PUT  change-password   {new_password, current_password?} → 204
    POST register          {invitation_code, username, password} → 201 {id, username, role, created_at}

A role is `admin` or `viewer` there. Errors are `{"error": "<sentence>"}`. No cookie is set: the token is all.
Read next: `tokens.py`; `session_api.py`, for our own.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Api, Endpoint
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import Permission
from mrproxy.control.signin.session_api import SessionApi
from mrproxy.control.signin.sessions import Opened
from mrproxy.control.signin.tokens import LIFETIME_SECONDS, TokenClaims, issue_token
from mrproxy.storage.people.users import get_user
from mrproxy.storage.people.values import NewUser, User

PREFIXES = ("/v0/auth", "/api/auth")
P = Permission
Text = Annotated[str, Meta(max_length=4096)]


class Login(msgspec.Struct, frozen=True):
    """Fields that are not known are ignored, as there."""

    username: Text
    password: Text


class Register(msgspec.Struct, frozen=True):
    invitation_code: Text
    username: Text
    password: Text


class ChangePassword(msgspec.Struct, frozen=True):
    new_password: Text
    current_password: Text | None = None


class LoggedInUser(msgspec.Struct, frozen=True):
    id: str
    username: str
    role: str
    must_change_password: bool


class LoggedIn(msgspec.Struct, frozen=True):
    token: str
    expires_in: int
    user: LoggedInUser


class AuthMe(msgspec.Struct, frozen=True):
    user_id: str
    username: str
    role: str
    must_change_password: bool


class Registered(msgspec.Struct, frozen=True):
    id: str
    username: str
    role: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LlmlbAuth:
    """The same operations as ours, in other words."""

    session_api: SessionApi

    def apis(self) -> tuple[Api, ...]:
        return tuple(Api(prefix, self.endpoints(), word=word_flat, is_strict=False) for prefix in PREFIXES)

    def endpoints(self) -> tuple[Endpoint, ...]:
        tag = "llmlb: auth"
        return (
            Endpoint("POST", "/login", P.SIGN_IN, self.login, request=Login, answer=LoggedIn,
                     summary="Sign in; the answer has the token", tag=tag, publishes=False),
            Endpoint("POST", "/logout", P.SIGN_IN, self.logout, status=204, summary="Sign out", tag=tag,
                     publishes=False),
            Endpoint("GET", "/me", P.OWN_PROFILE_READ, self.me, answer=AuthMe, summary="Who am I", tag=tag),
            Endpoint("PUT", "/change-password", P.OWN_PASSWORD, self.change_password, request=ChangePassword,
                     status=204, summary="Change my password", tag=tag, publishes=False),
            Endpoint("POST", "/register", P.SIGN_IN, self.register, request=Register, answer=Registered, status=201,
                     summary="Become a user with an invitation's code", tag=tag),
        )  # fmt: skip

    async def login(self, call: Call[Login, None]) -> Answer:
        visitor = self.session_api.visitor(call)
        sign_in, wanted = self.session_api.sign_in, call.request
        opened = await sign_in.with_password(wanted.username, wanted.password, visitor, "token")
        user = opened.user
        shown = LoggedInUser(user.uuid, user.name, role_of(user), user.must_change_password)
        token = issue_token(sign_in.sessions.keys.token, claims_of(opened))
        return Answer(value=LoggedIn(token, LIFETIME_SECONDS, shown))

    async def logout(self, call: Call[Any, Any]) -> Answer:
        """Also without a token, or with one that is over."""
        if call.actor.session is not None:
            await call.transact(self.session_api.write_close, call.actor, call.actor.session)
        return Answer()

    async def me(self, call: Call[Any, Any]) -> Answer:
        user = await call.read(get_user, call.user_id)
        return Answer(value=AuthMe(user.uuid, user.name, role_of(user), user.must_change_password))

    async def change_password(self, call: Call[ChangePassword, None]) -> Answer:
        wanted, visitor = call.request, self.session_api.visitor(call)
        headers = await self.session_api.changed_password(
            call.actor, wanted.current_password, wanted.new_password, visitor
        )
        return Answer(headers=headers)

    async def register(self, call: Call[Register, None]) -> Answer:
        wanted, sign_in = call.request, self.session_api.sign_in
        new = NewUser(name=wanted.username, group_id=0)
        try:
            user = await sign_in.accept_invitation(
                wanted.invitation_code, new, wanted.password, self.session_api.visitor(call)
            )
        except Problem as problem:
            is_code = problem.code == "not-found" or (problem.code == "conflict" and not problem.errors)
            if not is_code:
                raise
            raise Problem("malformed", problem.detail) from problem
        return Answer(
            value=Registered(user.uuid, user.name, role_of(user), datetime.fromtimestamp(user.created_utc, UTC))
        )


def claims_of(opened: Opened) -> TokenClaims:
    session = opened.session
    return TokenClaims(
        subject=opened.user.uuid,
        role=role_of(opened.user),
        session=session.id,
        issued_utc=int(session.created_utc),
        expires_utc=int(session.created_utc) + LIFETIME_SECONDS,
    )


def role_of(user: User) -> str:
    return "admin" if user.is_admin else "viewer"


def word_flat(problem: Problem, _: str) -> tuple[bytes, str]:
    """One sentence, whatever the kind."""
    return msgspec.json.encode({"error": problem.detail}), "application/json"
