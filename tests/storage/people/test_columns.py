"""Values and columns are the same thing in two shapes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.link.snapshot import Limits
from mrproxy.storage.people.columns import columns_of, flattened, pack, packed, unpack
from mrproxy.storage.people.errors import Invalid


@given(st.none() | st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4).map(tuple))
def test_a_list_comes_back_and_none_is_not_an_empty_one(names):
    assert unpack(pack(names)) == names


def test_only_lists_are_packed():
    assert packed({"models": ("a",), "name": "b", "scopes": None}) == {"models": '["a"]', "name": "b", "scopes": None}


def test_limits_are_five_columns():
    assert flattened({"limits": Limits(1, budget_period="monthly"), "shared": {"token_budget": 2}, "name": "a"}) == {
        **columns_of(Limits(1, None, None, None, "monthly")),
        **columns_of(Limits(token_budget=2), "shared_"),
        "name": "a",
    }


@pytest.mark.parametrize("value", [None, 5, {"token_budget": "x"}, []])
def test_what_is_no_limits_is_refused(value):
    with pytest.raises(Invalid, match="limits"):
        flattened({"limits": value})
