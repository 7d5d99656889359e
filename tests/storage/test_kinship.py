"""A database knows under which secret its keys were made."""

from mrproxy.storage.facts import read_fact
from mrproxy.storage.kinship import MARK, is_related

ONE, OTHER = bytes(32), bytes(31) + b"1"


async def test_the_first_secret_is_the_databases(database):
    assert await database.transact(is_related, ONE)
    assert await database.transact(is_related, ONE)
    assert not await database.transact(is_related, OTHER)
    assert await database.transact(is_related, ONE)


async def test_the_mark_does_not_hold_the_secret(database):
    await database.transact(is_related, ONE)
    mark = await database.read(read_fact, MARK)
    assert mark is not None
    assert ONE.hex() not in mark
