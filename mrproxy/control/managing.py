"""Shell. The publisher of a real control plane, and what it does first: tables, groups, an administrator.

Read next: `publisher.py`; `mrproxy/controlling.py`, which runs it.
"""

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from mrproxy.clock import Clock
from mrproxy.config import Settings, variable_of
from mrproxy.control.api.configured import Configured
from mrproxy.control.first_administrator import FirstAdministrator
from mrproxy.control.publisher import Publisher
from mrproxy.control.signin.passwords import Passwords
from mrproxy.control.workers import Workers
from mrproxy.storage.database import Database
from mrproxy.storage.kinship import is_related
from mrproxy.storage.managed import Slots
from mrproxy.storage.outage import StorageLog
from mrproxy.storage.secrets import BACKEND_KEYS, SecretBox


def make_publisher(
    settings: Settings,
    data_dir: Path,
    secret: bytes,
    database: Database,
    prepare_tables: Callable[[], Awaitable[object]],
    clock: Clock,
    log: StorageLog,
    environment: Mapping[str, str],
    passwords: Passwords,
) -> Publisher:
    """Touches nothing yet. `environment` has the first administrator's password, which no snapshot has."""
    password = environment.get(variable_of("admin_password"), "")
    first = FirstAdministrator(data_dir, settings.admin_name, password, passwords.hash, clock, log, sys.stdout)
    configured = Configured(data_dir)

    async def prepare() -> None:
        await prepare_tables()
        if not await database.transact(is_related, secret):
            log.error(
                "the keys of this database were made under another secret",
                reason=f"{data_dir / 'secret'} is not the file that the database was used with: restore it, or the "
                "keys made before are refused",
            )
        await first.ensure(database)

    def slots() -> Slots:
        """As of the last reload."""
        defaults = configured().settings
        return Slots(defaults.default_max_concurrent, defaults.default_max_concurrent_ollama)

    workers, box = Workers(data_dir / "run"), SecretBox(secret, BACKEND_KEYS)
    return Publisher(data_dir, database, box, slots, workers.tell, clock, log, prepare)
