"""From an empty file to a snapshot with groups and an administrator, and from a reload to other slots."""

from functools import partial
from pathlib import Path

import pytest
import trio

from mrproxy.config import Settings
from mrproxy.control.managing import make_publisher
from mrproxy.control.signin.passwords import Passwords
from mrproxy.link import snapshot as snapshots
from mrproxy.link.publishing import CONFIGURED_NAME, SNAPSHOT_NAME
from mrproxy.link.snapshot import Snapshot
from mrproxy.storage.backends import NewBackend, create_backend
from mrproxy.storage.bridge import open_bridge
from mrproxy.storage.database import open_database
from mrproxy.storage.migrate import prepare
from mrproxy.storage.people.users import find_credentials
from mrproxy.storage.secrets import BACKEND_KEYS, SecretBox
from mrproxy.storage.urls import locate
from tests.fakes.log import MemoryLog

SECRET = bytes(32)


def configure(data_dir: Path, settings: Settings) -> None:
    snapshots.write(data_dir / CONFIGURED_NAME, Snapshot(generation=0, created_utc=0.0, settings=settings))


@pytest.mark.slow
async def test_a_new_data_directory_is_ready_by_itself(tmp_path: Path, nursery: trio.Nursery):
    (tmp_path / "run").mkdir()
    configure(tmp_path, Settings(default_max_concurrent=7))
    passwords, environment = Passwords(), {"MRPROXY_ADMIN_PASSWORD": "correct horse battery"}
    async with open_bridge() as bridge, open_database(locate("", tmp_path), bridge) as database:
        publisher = make_publisher(
            Settings(admin_name="root"),
            tmp_path,
            SECRET,
            database,
            partial(prepare, database),
            lambda: 5.0,
            MemoryLog(),
            environment,
            passwords,
        )
        await publisher.catch_up()
        found = await database.read(find_credentials, "root")
        assert found is not None
        assert (await passwords.verify(found.password_hash, "correct horse battery")).is_right
        assert [user.name for user in snapshots.read(tmp_path / SNAPSHOT_NAME).users] == ["root"]

        wanted = NewBackend(name="one", kind="vllm", url="http://one", api_key="sk")
        await database.transact(create_backend, wanted, SecretBox(SECRET, BACKEND_KEYS), 5.0)
        for slots in (7, 9):
            configure(tmp_path, Settings(default_max_concurrent=slots))
            await publisher.catch_up()
            (backend,) = snapshots.read(tmp_path / SNAPSHOT_NAME).backends
            assert (backend.max_concurrent, backend.api_key) == (slots, "sk")


@pytest.mark.slow
async def test_a_secret_that_is_not_the_databases_is_an_error_in_the_log(tmp_path: Path, nursery: trio.Nursery):
    (tmp_path / "run").mkdir()
    configure(tmp_path, Settings())
    logs = []
    async with open_bridge() as bridge, open_database(locate("", tmp_path), bridge) as database:
        for secret in (SECRET, SECRET, b"1" * 32):
            logs.append(log := MemoryLog())
            arguments = (database, partial(prepare, database), lambda: 5.0, log, {}, Passwords())
            await make_publisher(Settings(), tmp_path, secret, *arguments).catch_up()
    said = [bool(log.events("the keys of this database were made under another secret")) for log in logs]
    assert said == [False, False, True]
