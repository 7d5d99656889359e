"""What becomes of a key, whenever its request ends."""

import pytest

from mrproxy.storage.database import Database
from mrproxy.storage.idempotency import (
    COMMITTED,
    KEEP_SECONDS,
    RUNNING_SECONDS,
    claim,
    keep_answer,
    mark_committed,
    release,
)
from mrproxy.storage.migrate import migrate

NOW = 1_760_000_000.0


@pytest.fixture
async def migrated(database: Database) -> Database:
    await migrate(database)
    return database


async def claimed(database: Database, now_utc: float = NOW, fingerprint: str = "f"):
    return await database.transact(claim, "k", fingerprint, now_utc)


async def test_the_first_has_the_key_and_the_second_sees_that_it_runs(migrated: Database) -> None:
    assert await claimed(migrated) is None
    earlier = await claimed(migrated, NOW + 1)
    assert (earlier.status, earlier.fingerprint, earlier.created_utc) == (None, "f", NOW)


async def test_what_was_cut_off_before_it_changed_anything_may_be_tried_again(migrated: Database) -> None:
    await claimed(migrated)
    assert await claimed(migrated, NOW + RUNNING_SECONDS, "g") is None
    assert (await claimed(migrated, NOW + RUNNING_SECONDS + 1)).fingerprint == "g"


async def test_what_is_committed_is_never_tried_again(migrated: Database) -> None:
    await claimed(migrated)
    await migrated.transact(mark_committed, "k")
    await migrated.transact(release, "k")
    assert (await claimed(migrated, NOW + RUNNING_SECONDS + 1)).status == COMMITTED


async def test_what_failed_leaves_the_key_free(migrated: Database) -> None:
    await claimed(migrated)
    await migrated.transact(release, "k")
    assert await claimed(migrated) is None


async def test_an_answer_is_kept_for_a_day(migrated: Database) -> None:
    await claimed(migrated)
    await migrated.transact(keep_answer, "k", 201, "sealed", "/x")
    earlier = await claimed(migrated, NOW + KEEP_SECONDS)
    assert (earlier.status, earlier.body, earlier.location) == (201, "sealed", "/x")
    assert await claimed(migrated, NOW + KEEP_SECONDS + 1) is None
