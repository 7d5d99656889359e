"""Shell. The first administrator: with the password that the settings name, or one that is made.

A password that was made is a secret, so it is in no log. It stands in `first-admin-password` in the data directory,
which only its owner can read, and must be changed at the first sign-in; on a terminal it is printed as well. The file
is written before the database knows the password: whatever interrupts us, nobody is locked out.
"""

import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mrproxy.clock import Clock
from mrproxy.link.snapshot import replace_file
from mrproxy.storage.database import Database
from mrproxy.storage.outage import StorageLog
from mrproxy.storage.people.errors import EntityError
from mrproxy.storage.people.first import create_first_administrator, ensure_groups, has_administrator
from mrproxy.storage.people.users import find_user_by_name

PASSWORD_NAME = "first-admin-password"

Hash = Callable[[str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class FirstAdministrator:
    """`password` empty: one is made. `hash` is Argon2id, in a thread."""

    data_dir: Path
    name: str
    password: str
    hash: Hash
    clock: Clock
    log: StorageLog
    out: TextIO

    async def ensure(self, database: Database) -> str | None:
        """The password that was made, if one was. Raises DatabaseError, OSError."""
        await database.transact(ensure_groups, self.clock())
        if await database.read(has_administrator):
            await self._forget_password(database)
            return None
        made = "" if self.password else secrets.token_urlsafe(15)
        hashed = await self.hash(self.password or made)
        file = self.data_dir / PASSWORD_NAME
        if made:
            replace_file(file, f"{made}\n".encode())
        try:
            user = await database.transact(create_first_administrator, self.name, hashed, bool(made), self.clock())
        except EntityError as exc:
            self.log.error("there is no administrator", reason=str(exc))
            user = None
        if user is None:
            if made:
                file.unlink(missing_ok=True)
            return None
        self.log.info(
            "the first administrator was made", user=user.name, **({"password_in": str(file)} if made else {})
        )
        return self._announced(made) if made else None

    async def _forget_password(self, database: Database) -> None:
        """Once it was changed, the one in the file is of no use, and of no danger if it goes."""
        file = self.data_dir / PASSWORD_NAME
        if file.exists():
            user = await database.read(find_user_by_name, self.name)
            if user is not None and not user.must_change_password:
                file.unlink(missing_ok=True)

    def _announced(self, made: str) -> str:
        """Only to a person: what is on a pipe ends in somebody's log."""
        if self.out.isatty():
            self.out.write(f"First administrator: {self.name}, password (shown only now): {made}{os.linesep}")
            self.out.flush()
        return made
