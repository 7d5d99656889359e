"""Pages of a list, by the list of users; `test_users.py` has the same under inserts."""

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from mrproxy.storage.database import Database
from mrproxy.storage.people.pages import MAX_PAGE, contains
from mrproxy.storage.people.users import list_users
from mrproxy.storage.people.values import Group, UserFilter
from mrproxy.storage.schema_people import users
from tests.storage.people.examples import a_user


async def test_pages_of_every_size_are_the_whole_list(database: Database, staff: Group):
    ids = [(await a_user(database, staff, f"u{number}")).id for number in range(5)]
    for limit in (-1, 1, 2, 4, 5, 6, MAX_PAGE + 1):
        seen, behind = [], None
        while True:
            page = await database.read(list_users, UserFilter(), behind, limit)
            seen += [user.id for user in page.rows]
            behind = page.following
            if behind is None:
                break
        assert seen == ids, limit


async def test_an_empty_list_has_one_empty_page(database: Database, staff: Group):
    page = await database.read(list_users, UserFilter())
    assert (list(page.rows), page.following) == ([], None)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50))
def test_what_is_searched_for_is_never_part_of_the_statement(text: str):
    compiled = contains(text, users.c.email, users.c.full_name).compile(dialect=sqlite.dialect())
    assert str(compiled).count("?") == 2
    escaped = text.replace("/", "//").replace("%", "/%").replace("_", "/_")
    assert set(compiled.params.values()) == {escaped}
