"""Shell. Signing in: what a password, an invitation or a provider's word leads to.

Everything about one attempt that is written stands in one transaction with its audit entry. Whether a name is known,
has a password, or is deactivated makes no difference that a stranger can see: same answer, one verification
(`passwords.py`), same waiting (`throttle.py`).

A session is always a new one: what a browser brings along when it signs in is ended, so nobody can be made to use a
session that somebody else knows. Read next: `sessions.py`; `identify.py`, for what a session is good for.
"""

from dataclasses import dataclass, field

import msgspec
import trio
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.api.actor import Actor, ActorKind
from mrproxy.control.api.problem import Detail, Problem
from mrproxy.control.signin.audited import note
from mrproxy.control.signin.password_policy import why_not
from mrproxy.control.signin.passwords import Passwords, TooBusy, Verdict
from mrproxy.control.signin.reach import Reach
from mrproxy.control.signin.sessions import Opened, Sessions
from mrproxy.control.signin.throttle import Throttle, lock_after, lock_left
from mrproxy.control.signin.visitor import Visitor
from mrproxy.identity.digest import digest_key
from mrproxy.storage.people.checks import clean, fold
from mrproxy.storage.people.invitations import accept_invitation
from mrproxy.storage.people.sessions import revoke_sessions
from mrproxy.storage.people.users import (
    change_user,
    find_credentials,
    find_user,
    get_user,
    record_failed_login,
    record_login,
)
from mrproxy.storage.people.values import Credentials, NewUser, Session, SessionKind, User

WRONG = "The name or the password is wrong."
SAME = "The new password must be another one."
MAX_NAME_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class SignIn:
    """One for a process. `secret` is the data directory's: under it codes of invitations are digested, as keys are."""

    sessions: Sessions
    secret: bytes
    passwords: Passwords = field(default_factory=Passwords)
    throttle: Throttle = field(default_factory=Throttle)

    @property
    def reach(self) -> Reach:
        return self.sessions.reach

    async def with_password(self, name: str, password: str, visitor: Visitor, kind: SessionKind) -> Opened:
        """Raises Problem: bad-credentials, too-many, database, unavailable."""
        name = clean(name, MAX_NAME_CHARACTERS)
        credentials, verdict = await self._tried(name, password, visitor)
        user = credentials.user if credentials is not None else None
        if user is None or not verdict.is_right:
            await self.reach.transact(self._write_failure, user, visitor)
            raise Problem("bad-credentials", WRONG)
        return await self.reach.transact(self._write_success, user, visitor, kind, verdict.new_hash, "password")

    async def known(self, user: User, visitor: Visitor, how: str) -> Opened:
        """Somebody else has made sure who it is: a provider (`oidc/`). Raises Problem."""
        return await self.reach.transact(self._write_success, user, visitor, "cookie", None, how)

    async def change_password(
        self, actor: Actor, session: Session | None, current: str | None, new: str, visitor: Visitor
    ) -> None:
        """Of the actor himself; his other sessions end. Who has just signed in need not give `current`.

        Raises Problem: forbidden, bad-credentials, too-many, invalid.
        """
        if actor.user_id is None or actor.kind is not ActorKind.USER:
            raise Problem("forbidden", "Only somebody who is signed in has a password to change.")
        user = await self.reach.read(get_user, actor.user_id)
        await self._check_current(user, session, current, visitor)
        await self._refuse_same(user, new)
        await self.set_password(actor, user, new, but=actor.session or "")

    async def set_password(self, actor: Actor, user: User, new: str, *, but: str = "", is_due: bool = False) -> User:
        """All sessions of the user end, `but` one. `is_due`: another one must be chosen at once. Raises Problem."""
        hashed = await self.hash_new(new, user.name, user.email or "")
        return await self.reach.transact(self._write_password, actor, user, hashed, but, is_due)

    async def accept_invitation(self, code: str, wanted: NewUser, password: str, visitor: Visitor) -> User:
        """The new user. Raises Problem: not-found, conflict, invalid, too-many."""
        account = f"invitations at {visitor.address}"  # codes cannot be guessed: nobody else waits for who tries
        wait_seconds = self.throttle.begin(account, visitor.address, trio.current_time())
        if wait_seconds:
            raise too_many(wait_seconds)
        digest = digest_key(self.secret, code.encode("utf-8", "replace")).hex()
        hashed = await self.hash_new(password, wanted.name, wanted.email or "")
        named = NewUser(**{name: getattr(wanted, name) for name in ACCEPTED}, group_id=0, password_hash=hashed)
        user = await self.reach.transact(self._write_invited, digest, named, visitor)
        self.throttle.succeeded(account, visitor.address)
        return user

    async def hash_new(self, password: str, *names: str) -> str:
        """The hash of a password that was chosen just now. Raises Problem when it is none to be chosen."""
        reason = why_not(password, *names)
        if reason is not None:
            raise Problem("invalid", reason, errors=(Detail("/password", reason),))
        try:
            return await self.passwords.hash(password)
        except TooBusy as exc:
            raise too_busy(exc) from exc

    async def _check_current(self, user: User, session: Session | None, current: str | None, visitor: Visitor) -> None:
        if current is None:
            if session is not None and self.sessions.is_recent(session):
                return
            raise Problem("forbidden", "The current password is needed as well: you have signed in a while ago.")
        _, verdict = await self._tried(user.name, current, visitor)
        if not verdict.is_right:
            await self.reach.transact(self._write_failure, user, visitor)
            raise Problem("bad-credentials", "The current password is wrong.")

    async def _refuse_same(self, user: User, new: str) -> None:
        credentials = await self.reach.read(find_credentials, user.name)
        stored = None if credentials is None else credentials.password_hash
        try:
            if stored is not None and (await self.passwords.verify(stored, new)).is_right:
                raise Problem("invalid", SAME, errors=(Detail("/new_password", SAME),))
        except TooBusy as exc:
            raise too_busy(exc) from exc

    async def _tried(self, name: str, password: str, visitor: Visitor) -> tuple[Credentials | None, Verdict]:
        """One try. It counts as a failure until it has succeeded."""
        folded = fold(name)
        device = visitor.device_of(folded)
        account = f"device {device}" if device is not None else f"name {folded}"
        wait_seconds = self.throttle.begin(account, visitor.address, trio.current_time())
        if wait_seconds:
            raise too_many(wait_seconds)
        try:
            credentials = await self.reach.read(find_credentials, name)
            if credentials is not None and device is None:
                refuse_locked(credentials.user, self.sessions.clock())
            is_usable = credentials is not None and credentials.user.is_active
            stored = credentials.password_hash if credentials is not None and is_usable else None
            verdict = await self.passwords.verify(stored, password)
        except TooBusy as exc:
            self.throttle.undo(account, visitor.address)
            raise too_busy(exc) from exc
        except Problem:
            self.throttle.undo(account, visitor.address)
            raise
        if verdict.is_right:
            self.throttle.succeeded(account, visitor.address)
        return credentials, verdict

    async def _write_success(
        self,
        connection: AsyncConnection,
        user: User,
        visitor: Visitor,
        kind: SessionKind,
        new_hash: str | None,
        how: str,
    ) -> Opened:
        now_utc = self.sessions.clock()
        if new_hash is not None:
            await change_user(connection, user.id, {"password_hash": new_hash}, None, now_utc)
        await record_login(connection, user.id, now_utc)
        opened = await self.sessions.open(connection, user, kind, visitor)
        actor = replace_name(visitor.actor, user)
        await note(connection, actor, "auth.login_success", user, now_utc, detail=how)
        return opened

    async def _write_failure(self, connection: AsyncConnection, user: User | None, visitor: Visitor) -> None:
        now_utc = self.sessions.clock()
        found = None if user is None else await find_user(connection, user.id)
        if found is not None:
            _, until_utc = lock_after(found.failed_logins, found.locked_until_utc, now_utc)
            await record_failed_login(connection, found.id, until_utc)
        await note(connection, visitor.actor, "auth.login_failure", found, now_utc)

    async def _write_password(
        self, connection: AsyncConnection, actor: Actor, user: User, hashed: str, but: str, is_due: bool
    ) -> User:
        now_utc = self.sessions.clock()
        changes: dict[str, object] = {"password_hash": hashed, "must_change_password": is_due}
        changed = await change_user(connection, user.id, changes, None, now_utc)
        await revoke_sessions(connection, user.id, now_utc, but)
        await note(connection, actor, "user.change_password", user, now_utc)
        return changed

    async def _write_invited(self, connection: AsyncConnection, digest: str, wanted: NewUser, visitor: Visitor) -> User:
        now_utc = self.sessions.clock()
        user = await accept_invitation(connection, digest, wanted, now_utc)
        await note(connection, replace_name(visitor.actor, user), "user.register", user, now_utc)
        return user


# What somebody who was invited says of himself; the rest is the invitation's to say.
ACCEPTED = ("name", "email", "full_name", "college", "department", "intended_use")


def refuse_locked(user: User, now_utc: float) -> None:
    wait_seconds = lock_left(user.locked_until_utc, now_utc)
    if wait_seconds:
        raise too_many(wait_seconds)


def too_many(wait_seconds: float) -> Problem:
    return Problem("too-many", "Too many attempts failed. Please wait.", retry_seconds=wait_seconds)


def too_busy(exc: TooBusy) -> Problem:
    return Problem("unavailable", "Too many people sign in at this moment.", retry_seconds=exc.retry_seconds)


def replace_name(actor: Actor, user: User) -> Actor:
    """The visitor, now that we know him."""
    return msgspec.structs.replace(actor, kind=ActorKind.USER, name=user.name, user_id=user.id)
