"""Whatever is done to the log afterwards is found, and where."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage import audit
from mrproxy.storage.audit import (
    GENESIS,
    HASHED,
    HEAD_NAME,
    SECRETS,
    AuditFilter,
    Chain,
    Head,
    HeadLost,
    Program,
    append,
    count_by,
    count_entries,
    differences,
    find_entry,
    follow_head,
    hash_of,
    list_entries,
    load_head,
    read_head_of,
    save_head,
    verify,
    without_secrets,
)
from mrproxy.storage.database import Database
from mrproxy.storage.schema_control import audit_log
from tests.storage.people.examples import everything

ROOT = Program("user", "root", "192.0.2.1", "request-1")
NOW = 1_700_000_000.123456


async def appended(database: Database, entity: object = "ann", before: object = None, after: object = None, **more):
    call = {"action": "user.create", "entity_kind": "user", "detail": "d"} | more

    async def write(connection: AsyncConnection) -> int:
        return await append(
            connection, ROOT, call["action"], call["entity_kind"], entity, before, after, NOW, call["detail"]
        )

    return await database.transact(write)


async def three(database: Database) -> list[dict[str, Any]]:
    for number in range(3):
        await appended(database, number, {"weight": number}, {"weight": number + 1})
    return await rows_of(database)


async def rows_of(database: Database) -> list[dict[str, Any]]:
    async def read(connection: AsyncConnection) -> list[dict[str, Any]]:
        chosen = select(audit_log).order_by(audit_log.c.id)
        return [dict(row) for row in (await connection.execute(chosen)).mappings()]

    return await database.read(read)


async def tampered(database: Database, *statements) -> None:
    async def write(connection: AsyncConnection) -> None:
        for statement in statements:
            await connection.execute(statement)

    await database.transact(write)


async def test_an_entry_says_who_did_what_to_what(database: Database):
    await appended(database, "ann", {"name": "ann", "weight": 1}, {"name": "ann", "weight": 2})
    entry = await database.read(find_entry, 1)
    assert entry is not None
    assert (entry.actor_kind, entry.actor, entry.address, entry.request_id) == (
        "user",
        "root",
        "192.0.2.1",
        "request-1",
    )
    assert (entry.action, entry.entity_kind, entry.entity, entry.detail) == ("user.create", "user", "ann", "d")
    assert (entry.at_utc, entry.before, entry.after) == (NOW, {"weight": 1}, {"weight": 2})
    assert entry.hash == hash_of((await rows_of(database))[0], GENESIS)
    assert await database.read(find_entry, 2) is None


async def test_an_untouched_log_is_right_in_pages_of_every_size(database: Database, monkeypatch):
    assert await verify(database) == audit.Verdict(count=0)
    rows = await three(database)
    for size in (1, 2, 3, 4):
        monkeypatch.setattr(audit, "VERIFY_ROWS", size)
        verdict = await verify(database, Head(2, rows[1]["hash"]))
        assert (verdict.count, verdict.first_bad_id, verdict.head) == (3, None, Head(3, rows[2]["hash"]))


@pytest.mark.parametrize("name", [*HASHED, "hash"])
async def test_every_change_of_every_field_of_every_entry_is_found(database: Database, name: str):
    for row in await three(database):
        old = row[name]
        new = old + 100 if name in ("id", "at_utc") else f"{old} "
        where = audit_log.c.id == row["id"]
        await tampered(database, update(audit_log).where(where).values({name: new}))
        verdict = await verify(database)
        assert (verdict.count, verdict.first_bad_id) == (row["id"] - 1, row["id"]), (name, row["id"])
        assert verdict.reason
        where = audit_log.c.id == (new if name == "id" else row["id"])
        await tampered(database, update(audit_log).where(where).values({name: old}))
    assert (await verify(database)).first_bad_id is None


def test_the_hash_covers_every_column_that_there_is():
    assert {*HASHED, "hash"} == set(audit_log.columns.keys())


async def test_null_is_not_an_empty_text_and_text_does_not_move_between_fields(database: Database):
    await appended(database, "ann", None, None, detail="")
    await tampered(database, update(audit_log).values(before=""))
    assert (await verify(database)).first_bad_id == 1
    await tampered(database, update(audit_log).values(before=None))
    assert (await verify(database)).first_bad_id is None
    await tampered(database, update(audit_log).values(action="user.creat", entity_kind="euser"))
    assert (await verify(database)).first_bad_id == 1


@pytest.mark.parametrize("gone", [1, 2])
async def test_a_removed_entry_is_missed(database: Database, gone: int):
    await three(database)
    await tampered(database, delete(audit_log).where(audit_log.c.id == gone))
    verdict = await verify(database)
    assert (verdict.first_bad_id, verdict.reason) == (gone, "the entry is missing")


async def test_an_entry_that_was_slipped_in_is_found(database: Database):
    rows = await three(database)
    for number in (0, -1):
        await tampered(database, insert(audit_log).values(rows[0] | {"id": number}))
        assert (await verify(database)).first_bad_id == 1
        await tampered(database, delete(audit_log).where(audit_log.c.id == number))


async def test_a_removed_end_is_found_by_the_head_that_is_kept_elsewhere(database: Database, tmp_path: Path):
    rows = await three(database)
    save_head(tmp_path, Head(3, rows[2]["hash"]))
    await tampered(database, delete(audit_log).where(audit_log.c.id == 3))
    assert (await verify(database)).first_bad_id is None
    verdict = await verify(database, load_head(tmp_path))
    assert (verdict.first_bad_id, HEAD_NAME in verdict.reason) == (3, True)


async def test_a_chain_that_was_computed_anew_is_found_by_the_head(database: Database):
    rows = await three(database)
    previous, forged = GENESIS, []
    for row in rows:
        changed = row | {"actor": "nobody"}
        previous = hash_of(changed, previous)
        forged.append(update(audit_log).where(audit_log.c.id == row["id"]).values(actor="nobody", hash=previous))
    await tampered(database, *forged)
    assert (await verify(database)).first_bad_id is None
    assert (await verify(database, Head(2, rows[1]["hash"]))).first_bad_id == 2


async def test_entries_of_many_at_once_are_one_chain(database: Database):
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(appended, database, number)
    verdict = await verify(database)
    assert (verdict.count, verdict.first_bad_id) == (8, None)


async def test_what_is_rolled_back_leaves_no_gap(database: Database):
    async def fail(connection: AsyncConnection) -> None:
        await append(connection, ROOT, "user.create", "user", "ann", None, None, NOW)
        raise RuntimeError("no")

    await appended(database)
    with pytest.raises(RuntimeError):
        await database.transact(fail)
    await appended(database)
    assert (await verify(database)).count == 2


async def test_the_head_follows_the_log_and_says_when_it_cannot(database: Database):
    assert await database.read(follow_head, None) is None
    rows = await three(database)
    newest = Head(3, rows[2]["hash"])
    assert await database.read(read_head_of) == newest
    for known in (None, Head(1, rows[0]["hash"]), newest):
        assert await database.read(follow_head, known) == newest
    with pytest.raises(HeadLost, match="another one"):
        await database.read(follow_head, Head(1, rows[1]["hash"]))
    with pytest.raises(HeadLost, match="not there"):
        await database.read(follow_head, Head(4, rows[1]["hash"]))


def test_the_head_is_kept_in_a_file(tmp_path: Path):
    assert load_head(tmp_path) is None
    save_head(tmp_path, Head(7, "ab"))
    assert load_head(tmp_path) == Head(7, "ab")
    assert (tmp_path / HEAD_NAME).stat().st_mode & 0o777 == 0o600
    (tmp_path / HEAD_NAME).write_text("{")
    with pytest.raises(HeadLost, match=HEAD_NAME):
        load_head(tmp_path)


async def test_strange_texts_are_kept_as_far_as_they_can_be(database: Database):
    await appended(database, "a\0b\ud800", {"n": "\ud800\0"}, {"n": "ü"}, detail="x" * 20_000)
    assert (await verify(database)).first_bad_id is None
    entry = await database.read(find_entry, 1)
    assert entry is not None
    assert (entry.entity, len(entry.detail), entry.after) == ("a\ufffdb?", 10_000, {"n": "ü"})


async def test_no_secret_is_written_whatever_the_caller_hands_over(database: Database):
    secrets = dict.fromkeys(SECRETS, "S3CRET")
    nested = secrets | {"inner": [secrets, {"deep": secrets}], "name": "ann"}
    await appended(database, "ann", None, nested)
    await appended(database, "ann", nested, secrets)
    assert "S3CRET" not in repr(await rows_of(database))
    entry = await database.read(find_entry, 1)
    assert entry is not None
    assert entry.after == {"name": "ann", "inner": [{}, {"deep": {}}]}


def test_what_came_and_what_went_is_a_difference():
    before, after = {"a": 1, "b": 2, "c": None}, {"a": 1, "b": 3, "d": 4}
    assert differences(before, after) == [{"b": 2, "c": None}, {"b": 3, "d": 4}]


async def test_a_struct_is_shown_by_its_fields(database: Database):
    await appended(database, "h", None, Head(1, "x"))
    entry = await database.read(find_entry, 1)
    assert entry is not None
    assert entry.after == {"id": 1}


async def test_lists_are_narrowed_newest_first(database: Database):
    for action, entity in (("user.create", "ann"), ("key.revoke", "k_1"), ("user.delete", "ann")):
        await appended(database, entity, action=action, entity_kind=action.partition(".")[0])

    async def ids(**wanted) -> list[int]:
        found = await everything(database, list_entries, AuditFilter(**wanted), 1)
        assert await database.read(count_entries, AuditFilter(**wanted)) == len(found)
        return [entry.id for entry in found]

    assert await ids() == [3, 2, 1]
    assert await ids(entity="ann") == [3, 1]
    assert await ids(action="key.revoke") == [2]
    assert await ids(entity_kind="user", actor="root") == [3, 1]
    assert await ids(actor="\0") == []
    assert await ids(search="K_") == [2]
    assert await ids(since_utc=NOW) == [3, 2, 1]
    assert await ids(until_utc=NOW) == []


async def test_an_entry_that_cannot_be_read_any_more_is_shown_as_it_is(database: Database):
    await appended(database, "ann", None, {"a": 1})
    await tampered(database, update(audit_log).values(after="{"))
    entry = await database.read(find_entry, 1)
    assert entry is not None
    assert entry.after == {"unreadable": "{"}


FIELDS = st.fixed_dictionaries(
    {
        name: st.integers(-(2**63), 2**63 - 1)
        if name == "id"
        else st.floats(allow_nan=False)
        if name == "at_utc"
        else st.none() | st.text(max_size=3)
        for name in HASHED
    }
)


@given(FIELDS, FIELDS)
def test_two_rows_have_one_hash_only_if_they_are_the_same(one, other):
    def exactly(row):
        return {name: repr(value) for name, value in row.items()}

    assert (hash_of(one, GENESIS) == hash_of(other, GENESIS)) == (exactly(one) == exactly(other))
    assert hash_of(one, GENESIS) != hash_of(one, "f" * 64)


@given(st.lists(FIELDS, max_size=5), st.data())
def test_a_chain_is_right_up_to_where_it_was_touched(rows, data):
    previous = GENESIS
    for number, row in enumerate(rows, 1):
        row["id"] = number
        row["hash"] = previous = hash_of(row, previous)
    touched = data.draw(st.integers(0, len(rows)))
    if touched:
        rows[touched - 1]["detail"] = f"{rows[touched - 1]['detail']}x"
    chain = Chain(None)
    reasons = [chain.receive(row) for row in rows]
    assert next((number for number, reason in enumerate(reasons, 1) if reason), 0) == touched


@given(
    st.recursive(st.integers() | st.text(max_size=3), lambda each: st.lists(each) | st.dictionaries(st.text(), each))
)
def test_what_is_shown_can_be_written_as_json(value):
    msgspec.json.encode(without_secrets(value))


async def test_entries_are_counted_by_what_they_have_in_common(database: Database):
    for action in ("user.create", "user.create", "key.create"):
        await appended(database, action=action)
    assert await database.read(count_by, "action") == {"user.create": 2, "key.create": 1}
    assert await database.read(count_by, "actor_kind") == {"user": 3}
    assert await database.read(count_entries, AuditFilter(actor_kind="user")) == 3
    assert await database.read(count_entries, AuditFilter(actor_kind="key")) == 0
