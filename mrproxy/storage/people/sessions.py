"""Shell. Who is signed in, and who somebody is elsewhere.

A session's id is a digest of what the browser holds; making and checking that is not done here. A session is good for
as long as `find_session` finds it: revoked, expired and orphaned ones it does not.
"""

from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.facts import take_turn
from mrproxy.storage.people.checks import check_email, check_moment, check_text, clean
from mrproxy.storage.people.errors import Invalid, Taken
from mrproxy.storage.people.users import get_user
from mrproxy.storage.people.values import Identity, NewIdentity, NewSession, Session, User
from mrproxy.storage.schema_people import identities, sessions, users

MAX_SESSIONS = 100  # that are listed of one user


async def create_session(connection: AsyncConnection, wanted: NewSession, now_utc: float) -> Session:
    """Raises NotFound for its user. `address` and `user_agent` are cut to what a list can show."""
    await take_turn(connection)
    await get_user(connection, wanted.user_id)
    session = Session(
        id=check_text("id", wanted.id, 200),
        user_id=wanted.user_id,
        kind=wanted.kind,
        expires_utc=check_moment("expires_utc", wanted.expires_utc),
        address=clean(wanted.address, 100),
        user_agent=clean(wanted.user_agent, 300),
        created_utc=now_utc,
        seen_utc=now_utc,
    )
    await connection.execute(insert(sessions).values(**msgspec.structs.asdict(session)))
    return session


async def find_session(connection: AsyncConnection, session_id: str, now_utc: float) -> tuple[Session, User] | None:
    """A session that is good, and its user, who is active."""
    good = sessions.c.revoked_utc.is_(None) & (sessions.c.expires_utc > now_utc) & users.c.is_active
    joined = sessions.join(users, sessions.c.user_id == users.c.id)
    chosen = select(sessions).select_from(joined).where(sessions.c.id == clean(session_id, 200), good)
    row = (await connection.execute(chosen)).first()
    if row is None:
        return None
    session = Session(**row._mapping)
    return session, await get_user(connection, session.user_id)


async def touch_session(
    connection: AsyncConnection, session_id: str, now_utc: float, expires_utc: float | None = None
) -> None:
    """It was used; from now on it may also live longer."""
    values: dict[str, object] = {"seen_utc": now_utc}
    if expires_utc is not None:
        values["expires_utc"] = expires_utc
    await connection.execute(update(sessions).where(sessions.c.id == session_id).values(**values))


async def revoke_session(connection: AsyncConnection, session_id: str, now_utc: float) -> bool:
    """Whether there was one to revoke."""
    living = (sessions.c.id == clean(session_id, 200)) & sessions.c.revoked_utc.is_(None)
    return (await connection.execute(update(sessions).where(living).values(revoked_utc=now_utc))).rowcount > 0


async def revoke_sessions(connection: AsyncConnection, user_id: int, now_utc: float, but: str = "") -> int:
    """All of a user, `but` one; how many."""
    await take_turn(connection)
    living = (sessions.c.user_id == user_id) & sessions.c.revoked_utc.is_(None) & (sessions.c.id != but)
    return (await connection.execute(update(sessions).where(living).values(revoked_utc=now_utc))).rowcount


async def list_sessions(connection: AsyncConnection, user_id: int, now_utc: float) -> tuple[Session, ...]:
    """Those that are good, the newest first."""
    good = sessions.c.revoked_utc.is_(None) & (sessions.c.expires_utc > now_utc)
    chosen = select(sessions).where(sessions.c.user_id == user_id, good)
    found = await connection.execute(chosen.order_by(sessions.c.created_utc.desc(), sessions.c.id).limit(MAX_SESSIONS))
    return tuple(Session(**row._mapping) for row in found)


async def link_identity(connection: AsyncConnection, wanted: NewIdentity, now_utc: float) -> Identity:
    """Raises NotFound for its user, Taken where the identity is somebody's already."""
    await take_turn(connection)
    await get_user(connection, wanted.user_id)
    values: dict[str, Any] = {
        "user_id": wanted.user_id,
        "issuer": check_text("issuer", wanted.issuer, 500),
        "subject": check_text("subject", wanted.subject, 500),
        "email": check_email("email", wanted.email),
    }
    if not values["issuer"] or not values["subject"]:
        raise Invalid("subject", "must not be empty, nor must the issuer")
    same = (identities.c.issuer == values["issuer"]) & (identities.c.subject == values["subject"])
    if (await connection.execute(select(identities.c.id).where(same))).first() is not None:
        raise Taken("subject", values["subject"])
    made = insert(identities).values(**values, created_utc=now_utc).returning(identities)
    return Identity(**(await connection.execute(made)).one()._mapping)


async def find_user_by_identity(connection: AsyncConnection, issuer: str, subject: str) -> User | None:
    """Active or not."""
    same = (identities.c.issuer == clean(issuer, 500)) & (identities.c.subject == clean(subject, 500))
    user_id = (await connection.execute(select(identities.c.user_id).where(same))).scalar_one_or_none()
    return None if user_id is None else await get_user(connection, user_id)


async def list_identities(connection: AsyncConnection, user_id: int) -> tuple[Identity, ...]:
    chosen = select(identities).where(identities.c.user_id == user_id).order_by(identities.c.id)
    return tuple(Identity(**row._mapping) for row in await connection.execute(chosen))


async def unlink_identity(connection: AsyncConnection, identity_id: int) -> bool:
    """Whether there was one."""
    await take_turn(connection)
    return (await connection.execute(delete(identities).where(identities.c.id == identity_id))).rowcount > 0
