"""What becomes of a key, whenever its request ends."""

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

NOW = 1_760_000_000.0


async def claimed(database: Database, now_utc: float = NOW, fingerprint: str = "f"):
    return await database.transact(claim, "k", fingerprint, now_utc)


async def test_the_first_has_the_key_and_the_second_sees_that_it_runs(database: Database) -> None:
    assert await claimed(database) is None
    earlier = await claimed(database, NOW + 1)
    assert (earlier.status, earlier.fingerprint, earlier.created_utc) == (None, "f", NOW)


async def test_what_was_cut_off_before_it_changed_anything_may_be_tried_again(database: Database) -> None:
    await claimed(database)
    assert await claimed(database, NOW + RUNNING_SECONDS, "g") is None
    assert (await claimed(database, NOW + RUNNING_SECONDS + 1)).fingerprint == "g"


async def test_what_is_committed_is_never_tried_again(database: Database) -> None:
    await claimed(database)
    await database.transact(mark_committed, "k")
    await database.transact(release, "k")
    assert (await claimed(database, NOW + RUNNING_SECONDS + 1)).status == COMMITTED


async def test_what_failed_leaves_the_key_free(database: Database) -> None:
    await claimed(database)
    await database.transact(release, "k")
    assert await claimed(database) is None


async def test_an_answer_is_kept_for_a_day(database: Database) -> None:
    await claimed(database)
    await database.transact(keep_answer, "k", 201, "sealed", "/x")
    earlier = await claimed(database, NOW + KEEP_SECONDS)
    assert (earlier.status, earlier.body, earlier.location) == (201, "sealed", "/x")
    assert await claimed(database, NOW + KEEP_SECONDS + 1) is None
