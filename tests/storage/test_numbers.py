"""Numbers for names, on both databases."""

from mrproxy.storage.backends import NewBackend, create_backend
from mrproxy.storage.database import Database
from mrproxy.storage.numbers import find_users, numbers_of, requests_of_keys, titles_of_groups
from mrproxy.storage.people.groups import create_group
from mrproxy.storage.people.values import Group, NewGroup
from mrproxy.storage.rows import row_of
from mrproxy.storage.secrets import BACKEND_KEYS, SecretBox
from mrproxy.storage.usage import add_sums, sums_of
from tests.link.journal_examples import a_record
from tests.storage.people.conftest import staff
from tests.storage.people.examples import NOW, a_key, a_user

__all__ = ["staff"]


async def test_names_have_the_numbers_of_their_rows(database: Database, staff: Group):
    ann = await a_user(database, staff)
    key = await a_key(database, ann)
    wanted = NewBackend(name="gpu1", kind="vllm", url="http://gpu1")
    backend = await database.transact(create_backend, wanted, SecretBox(bytes(32), BACKEND_KEYS), NOW)
    assert await database.read(numbers_of, "user", {"ann", "nobody"}) == {"ann": ann.id}
    assert await database.read(numbers_of, "group", ["staff"]) == {"staff": staff.id}
    assert await database.read(numbers_of, "backend", ["gpu1"]) == {"gpu1": backend.id}
    assert await database.read(numbers_of, "key", [key.key_id, "x"]) == {key.key_id: key.id}
    assert await database.read(numbers_of, "user", []) == {}


async def test_users_are_found_by_their_numbers(database: Database, staff: Group):
    ann = await a_user(database, staff)
    assert await database.read(find_users, [ann.id, 99]) == {ann.id: ann}
    assert await database.read(find_users, []) == {}


async def test_a_group_without_a_title_is_called_by_its_name(database: Database, staff: Group):
    made = await database.transact(create_group, NewGroup(name="nerds", display_name="Nerds & Co"), 1.0)
    assert await database.read(titles_of_groups) == {staff.id: "staff", made.id: "Nerds & Co"}


async def test_uses_of_keys_are_summed_over_all_days(database: Database):
    made = [a_record(key_id=f"k{number % 2}", started_utc=number * 86_400.0) for number in range(5)]
    await database.transact(add_sums, sums_of([row_of(each, 0.0) for each in made]))
    assert await database.read(requests_of_keys, ["k0", "k1", "k2"]) == {"k0": 3, "k1": 2}
    assert await database.read(requests_of_keys, []) == {}
