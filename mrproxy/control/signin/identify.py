"""Shell. Request → actor: the owner of the data directory, a key, a token, a session's cookie, or nobody.

What is sent on purpose goes before what a browser sends by itself: a header with a token or key decides alone, be it
good or bad; only without one the cookie is looked at. Only the cookie can be abused by other pages, so only it needs
the proofs of `csrf.py`, and it needs them wherever it is used: no endpoint can forget them.

A key is asked from the database, where it says more than in the snapshot and is revoked at once. When the database is
away the snapshot decides, as in the workers; a key that is not there is then perhaps new, and so it is "not
available", never "not valid".
"""

from dataclasses import dataclass

import trio
from quart import Request
from werkzeug.datastructures import Headers

from mrproxy.control.api.actor import Actor, ActorKind, owner
from mrproxy.control.api.identify import SnapshotKeys, credential_of, is_local, is_within
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import roles_of
from mrproxy.control.signin import csrf
from mrproxy.control.signin.reach import is_away
from mrproxy.control.signin.sessions import Sessions, actor_of
from mrproxy.control.signin.tokens import TokenRefused, looks_like_token, verify_token
from mrproxy.control.signin.visitor import Visitor, visitor_of
from mrproxy.identity.digest import digest_key
from mrproxy.storage.people.keys import find_key_credentials
from mrproxy.storage.people.values import KeyCredentials, Session, User, status_of_key

# Longer than the database takes when it is well, shorter than anybody waits for a list.
KEY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Identification:
    """`identify` is what a `Plane` wants."""

    sessions: Sessions
    secret: bytes
    snapshot_keys: SnapshotKeys
    cookie_secure: str

    def visitor(self, asked: Request) -> Visitor:
        return visitor_of(asked.headers, self.sessions.keys, self.cookie_secure)

    async def identify(self, asked: Request) -> Actor:
        """Raises Problem: bad-credentials, forbidden, database."""
        visitor = self.visitor(asked)
        if is_local(asked):
            return owner(visitor.request_id)
        credential = credential_of(asked)
        if credential and looks_like_token(credential):
            return actor_of(*await self.of_token(credential), visitor)
        if credential:
            return await self.of_key(credential, visitor)
        found = await self.of_cookie(visitor)
        if found is None:
            return visitor.actor
        check_meant(asked.method, asked.headers, visitor, found[0].id)
        return actor_of(*found, visitor)

    async def of_cookie(self, visitor: Visitor) -> tuple[Session, User] | None:
        """A cookie that is forged, old or none is nobody. Raises Problem when the database is away."""
        session = visitor.cookie_session
        return None if session is None else await self.sessions.find(session, "cookie")

    async def of_token(self, token: str) -> tuple[Session, User]:
        """Raises Problem."""
        try:
            claims = verify_token(self.sessions.keys.token, token, self.sessions.clock())
        except TokenRefused as exc:
            raise Problem("bad-credentials", "This token is not valid.") from exc
        found = await self.sessions.find(claims.session, "token")
        if found is None or found[1].uuid != claims.subject:
            raise Problem("bad-credentials", "This token is not valid any more.")
        return found

    async def of_key(self, credential: str, visitor: Visitor) -> Actor:
        """Raises Problem."""
        try:
            with trio.fail_after(KEY_SECONDS):
                digest = digest_key(self.secret, credential.encode("utf-8", "surrogateescape")).hex()
                found = await self.sessions.reach.read(find_key_credentials, digest)
        except (trio.TooSlowError, Problem) as exc:
            if isinstance(exc, Problem) and not is_away(exc):
                raise
            return self._from_snapshot(credential, visitor, is_complete=is_without_database(exc))
        if found is None:  # of the configuration, then: those are in the snapshot only
            return self._from_snapshot(credential, visitor, is_complete=True)
        check_key(found, visitor.address, self.sessions.clock())
        return key_actor(found, visitor)

    def _from_snapshot(self, credential: str, visitor: Visitor, *, is_complete: bool) -> Actor:
        """`is_complete`: what is not there, is not. Otherwise the database might know it."""
        try:
            return self.snapshot_keys.actor_of(credential, visitor.address, visitor.request_id)
        except Problem as problem:
            if is_complete or problem.code != "bad-credentials":
                raise
            raise Problem(
                "database", "Whether this key is valid cannot be found out now.", retry_seconds=5
            ) from problem


def is_without_database(exc: Exception) -> bool:
    return isinstance(exc, Problem) and exc.code == "no-database"


def check_meant(method: str, headers: Headers, visitor: Visitor, session: str) -> None:
    """Of a request with a cookie. Raises Problem."""
    if method in csrf.SAFE_METHODS:
        return
    if not csrf.is_from_here(headers):
        raise Problem("forbidden", "This request comes from another site.")
    if not csrf.is_token_of(headers.get(csrf.HEADER, ""), visitor.jar.keys, session):
        raise Problem("forbidden", f"The header {csrf.HEADER} is missing, or is not that of this session.")


def check_key(found: KeyCredentials, address: str, now_utc: float) -> None:
    """Raises Problem."""
    status = status_of_key(found.key, now_utc)
    if status != "active":
        raise Problem("bad-credentials", f"This API key {'has expired' if status == 'expired' else 'is revoked'}.")
    if found.user is not None and not found.user.is_active:
        raise Problem("bad-credentials", "The user of this API key is deactivated.")
    if found.key.addresses is not None and not is_within(address, found.key.addresses):
        raise Problem("forbidden", "This API key may not be used from this address.")


def key_actor(found: KeyCredentials, visitor: Visitor) -> Actor:
    return Actor(
        kind=ActorKind.KEY,
        name=found.key.user or found.key.key_id,
        user_id=found.key.user_id,
        roles=roles_of(is_admin=found.is_admin, is_auditor=found.is_auditor),
        scopes=found.key.scopes,
        key_id=found.key.key_id,
        address=visitor.address,
        request_id=visitor.request_id,
    )
