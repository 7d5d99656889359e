"""From a change in the database to a snapshot in force, whatever fails on the way."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from mrproxy.control import publisher as module
from mrproxy.control.publisher import Publisher
from mrproxy.link import snapshot as snapshots
from mrproxy.link.publishing import CONFIGURED_NAME, MANAGED_NAME, SNAPSHOT_NAME
from mrproxy.link.snapshot import Snapshot
from mrproxy.storage.audit import HEAD_NAME, Head, Program, append, load_head, save_head
from mrproxy.storage.backends import NewBackend, create_backend
from mrproxy.storage.database import Database
from mrproxy.storage.failures import DatabaseUnavailable
from mrproxy.storage.managed import Slots
from mrproxy.storage.people.groups import create_group
from mrproxy.storage.people.keys import revoke_key
from mrproxy.storage.people.values import NewGroup
from mrproxy.storage.secrets import BACKEND_KEYS, SecretBox
from mrproxy.storage.urls import locate
from tests.fakes.log import MemoryLog
from tests.storage.people.examples import NOW, a_key, a_user
from tests.storage.tables import opened_with_tables

BOX = SecretBox(bytes(32), BACKEND_KEYS)


@dataclass
class Scene:
    """A publisher and what is around it."""

    data_dir: Path
    database: Database
    log: MemoryLog = field(default_factory=MemoryLog)
    told: list[tuple[str, str]] = field(default_factory=list)
    slots: Slots = field(default_factory=lambda: Slots(64, 4))
    problem: Exception | None = None
    prepared: int = 0

    def __post_init__(self) -> None:
        self.publisher = Publisher(
            self.data_dir, self.database, BOX, lambda: self.slots, self.tell, lambda: NOW, self.log, self.prepare
        )

    async def tell(self, method: str, path: str) -> None:
        self.told.append((method, path))

    async def prepare(self) -> None:
        self.prepared += 1
        if self.problem is not None:
            raise self.problem

    def in_force(self) -> Snapshot:
        return snapshots.read(self.data_dir / SNAPSHOT_NAME)

    def groups(self) -> set[str]:
        return {group.name for group in self.in_force().groups}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    (tmp_path / "run").mkdir()
    snapshots.write(tmp_path / CONFIGURED_NAME, Snapshot(generation=0, created_utc=0.0))
    async with opened_with_tables(locate("", tmp_path)) as database:
        yield Scene(tmp_path, database)


async def grouped(scene: Scene, name: str = "physics"):
    return await scene.database.transact(create_group, NewGroup(name=name), NOW)


async def until(is_so: Callable[[], bool]) -> None:
    """Others run meanwhile; the test's own deadline ends it if it never is."""
    while not is_so():
        await trio.lowlevel.checkpoint()


async def noted(scene: Scene) -> None:
    async def write(connection):
        await append(connection, Program(), "x", "y", "z", None, None, NOW)

    await scene.database.transact(write)


async def test_what_is_there_at_the_start_comes_into_force(scene: Scene):
    await grouped(scene)
    await scene.publisher.catch_up()
    assert "physics" in scene.groups()
    assert scene.told == [("POST", "/reload")]
    statistics = scene.publisher.statistics()
    assert (statistics.problem, statistics.generation, statistics.changes) == ("", 1, 1)
    assert (statistics.published_utc, statistics.is_audit_log_whole) == (NOW, True)


async def test_nothing_is_written_when_nothing_was_changed(scene: Scene):
    await scene.publisher.catch_up()
    before = (scene.data_dir / MANAGED_NAME).stat()
    await scene.publisher.catch_up()
    assert (scene.data_dir / MANAGED_NAME).stat().st_mtime_ns == before.st_mtime_ns
    assert len(scene.told) == 1


async def test_a_change_by_somebody_else_is_found_by_looking(scene: Scene):
    await scene.publisher.catch_up()
    await grouped(scene)
    await scene.publisher.catch_up()
    assert "physics" in scene.groups()


async def test_other_defaults_for_backends_are_a_change(scene: Scene):
    wanted = NewBackend(name="one", kind="vllm", url="http://one")
    await scene.database.transact(create_backend, wanted, BOX, NOW)
    await scene.publisher.catch_up()
    scene.slots = Slots(8, 4)
    await scene.publisher.catch_up()
    assert [backend.max_concurrent for backend in scene.in_force().backends] == [8]


async def test_who_asks_is_let_go_when_it_is_in_force(scene: Scene, nursery: trio.Nursery):
    group = await grouped(scene)
    key = await a_key(scene.database, await a_user(scene.database, group))
    nursery.start_soon(scene.publisher.run)
    assert await scene.publisher.published(scene.publisher.request())
    assert [each.id for each in scene.in_force().keys] == [key.key_id]
    await scene.database.transact(revoke_key, key.id, None, NOW)
    await scene.publisher.publish()
    assert scene.in_force().keys == ()
    assert scene.publisher.statistics().generation == 2


async def test_many_who_ask_at_once_are_served_together(scene: Scene, nursery: trio.Nursery):
    nursery.start_soon(scene.publisher.run)
    await scene.publisher.publish()
    told = len(scene.told)

    async def change(number: int) -> None:
        await grouped(scene, f"g{number}")
        await scene.publisher.publish()
        assert f"g{number}" in scene.groups()

    async with trio.open_nursery() as all_at_once:
        for number in range(20):
            all_at_once.start_soon(change, number)
    assert len(scene.told) - told < 20


async def test_nobody_waits_for_ever(scene: Scene, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.01)
    assert not await scene.publisher.published(scene.publisher.request())  # nobody runs it
    await scene.publisher.publish()


async def test_a_database_that_is_away_is_said_once_and_leaves_the_last_one_in_force(
    scene: Scene, nursery: trio.Nursery, monkeypatch
):
    monkeypatch.setattr(module, "LONGEST_RETRY_SECONDS", 0.01)
    await grouped(scene)
    await scene.publisher.catch_up()
    before = (scene.data_dir / SNAPSHOT_NAME).read_bytes()
    working, is_away = scene.database.read, True

    async def away(*args):
        if is_away:
            raise DatabaseUnavailable("gone")
        return await working(*args)

    monkeypatch.setattr(scene.database, "read", away)
    nursery.start_soon(scene.publisher.run)
    await until(lambda: scene.prepared >= 4)
    assert scene.publisher.statistics().problem == "unavailable"
    assert (scene.data_dir / SNAPSHOT_NAME).read_bytes() == before
    assert len(scene.log.events("changes are not published")) == 1
    is_away = False
    assert await scene.publisher.published(scene.publisher.request())
    await until(lambda: scene.publisher.statistics().problem == "")
    assert len(scene.log.events("changes are published again")) == 1


async def test_what_prepares_the_tables_runs_first_and_again_after_a_failure(scene: Scene):
    scene.problem = DatabaseUnavailable("no tables")
    with pytest.raises(DatabaseUnavailable):
        await scene.publisher.catch_up()
    assert not (scene.data_dir / MANAGED_NAME).exists()
    scene.problem = None
    await scene.publisher.catch_up()
    await scene.publisher.catch_up()
    assert scene.prepared == 2


@pytest.mark.parametrize("problem", [None, DatabaseUnavailable("away")], ids=["tables", "away"])
async def test_whoever_waits_for_the_first_look_is_let_go_whatever_it_finds(
    scene: Scene, nursery: trio.Nursery, problem: Exception | None
):
    scene.problem = problem
    assert not scene.publisher.tried.is_set()
    nursery.start_soon(scene.publisher.run)
    with trio.fail_after(5):
        await scene.publisher.tried.wait()
    assert scene.prepared == 1
    assert (scene.data_dir / MANAGED_NAME).exists() == (problem is None)


async def test_a_configured_part_that_cannot_be_read_is_a_failure_like_others(
    scene: Scene, nursery: trio.Nursery, monkeypatch
):
    monkeypatch.setattr(module, "LONGEST_RETRY_SECONDS", 0.01)
    configured = (scene.data_dir / CONFIGURED_NAME).read_bytes()
    (scene.data_dir / CONFIGURED_NAME).write_text("{")
    nursery.start_soon(scene.publisher.run)
    await until(lambda: scene.publisher.statistics().problem != "")
    (scene.data_dir / CONFIGURED_NAME).write_bytes(configured)
    assert await scene.publisher.published(scene.publisher.request())


async def test_a_backend_whose_key_cannot_be_decrypted_is_named_once(scene: Scene):
    wanted = NewBackend(name="one", kind="vllm", url="http://one", api_key="sk-1")
    await scene.database.transact(create_backend, wanted, SecretBox(b"x" * 32, BACKEND_KEYS), NOW)
    await scene.publisher.catch_up()
    await grouped(scene)
    await scene.publisher.catch_up()
    assert scene.publisher.statistics().unreadable_backends == ("one",)
    assert [fields for level, _, fields in scene.log.lines if level == "error"] == [{"backends": "one"}]


async def test_the_head_of_the_audit_log_is_kept_beside_the_database(scene: Scene):
    await scene.publisher.catch_up()
    assert load_head(scene.data_dir) is None
    for number in (1, 2):
        await noted(scene)
        await scene.publisher.catch_up()
        head = load_head(scene.data_dir)
        assert head is not None
        assert head.id == number


async def test_an_audit_log_that_lost_its_end_is_said_and_its_head_kept(scene: Scene):
    await noted(scene)
    lost = Head(7, "f" * 64)
    save_head(scene.data_dir, lost)
    for _ in range(2):
        await scene.publisher.catch_up()
    assert load_head(scene.data_dir) == lost
    assert not scene.publisher.statistics().is_audit_log_whole
    assert len([event for level, event, _ in scene.log.lines if level == "error"]) == 1
    (scene.data_dir / HEAD_NAME).unlink()
    await scene.publisher.catch_up()
    assert scene.publisher.statistics().is_audit_log_whole
