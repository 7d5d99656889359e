"""Where a journal was read to, on both databases."""

import pytest

from mrproxy.link.journal import Position
from mrproxy.storage.positions import (
    ID_NAME,
    PositionMoved,
    load_positions,
    move_position,
    of_bodies,
    read_journal_id,
)


def test_the_identity_of_a_journal_is_made_once_and_mended(tmp_path):
    journal = tmp_path / "journal"
    made = read_journal_id(journal)
    assert read_journal_id(journal) == made
    (journal / ID_NAME).write_bytes(b"\xff\n")
    assert read_journal_id(journal) not in ("", made)


async def test_a_position_moves_only_from_where_it_is(database):
    await database.transact(move_position, "j/w1", None, Position(1, 10), 3)
    await database.transact(move_position, "j/w1", Position(1, 10), Position(2, 0), 4)
    for before in (None, Position(1, 10), Position(2, 1)):
        with pytest.raises(PositionMoved):
            await database.transact(move_position, "j/w1", before, Position(3, 0), 1)
    assert await database.read(load_positions, "j") == {"w1": Position(2, 0)}


async def test_positions_of_others_and_of_bodies_are_not_ours(database):
    for key in ("j/w1", "jj/w2", f"{of_bodies('j')}/w3"):
        await database.transact(move_position, key, None, Position(1, 1), 0)
    assert await database.read(load_positions, "j") == {"w1": Position(1, 1)}
    assert await database.read(load_positions, of_bodies("j")) == {"w3": Position(1, 1)}
    assert await database.read(load_positions, "") == {}
