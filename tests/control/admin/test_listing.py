"""Invariant: whatever the sizes of both parts and of a page, all pages together are the whole list, once each."""

import trio
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.admin.listing import BothQuery, is_found, page_of_both
from mrproxy.control.api.cursors import encode_cursor
from mrproxy.storage.people.values import Page

sizes = st.integers(0, 7)


@given(sizes, sizes, st.integers(1, 4), st.sampled_from([None, "configuration", "managed"]), st.booleans())
def test_pages_are_the_whole_list(configured, managed, limit, source, has_database):
    rows = list(range(1, managed + 1))

    async def fetch(behind, count):
        left = [row for row in rows if row > (behind or 0)]
        return Page([f"m{row}" for row in left[:count]], left[count - 1] if len(left) > count else None)

    own = [f"c{number}" for number in range(configured)]

    async def read_all():
        seen, cursor = [], ""
        for _ in range(30):
            query = BothQuery(limit=limit, cursor=cursor, source=source)
            items, following = await page_of_both(query, int, own, fetch if has_database else None)
            assert len(items) <= limit
            seen += items
            if following is None:
                return seen
            cursor = encode_cursor(following)
        raise AssertionError("it does not end")

    expected = ([] if source == "managed" else own) + (
        [f"m{row}" for row in rows] if has_database and source != "configuration" else []
    )
    assert trio.run(read_all) == expected


def test_a_search_is_for_a_part_in_any_case():
    assert is_found("", "x")
    assert is_found("GPU", "a", "my-gpu-1")
    assert not is_found("cpu", "a", "my-gpu-1")
