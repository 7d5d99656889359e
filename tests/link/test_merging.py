"""Two sources make one snapshot, and each name and key is in it once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.config import DEFAULT_GROUPS
from mrproxy.link.merging import filled, merge
from mrproxy.link.snapshot import BackendSpec, GroupSpec, KeySpec, Limits, Managed, ModelSpec, Snapshot, UserSpec


def configured(**parts: object) -> Snapshot:
    return Snapshot(generation=7, created_utc=2.0, **parts)  # type: ignore[arg-type]


def managed(**parts: object) -> Managed:
    return Managed(generation=1, **parts)  # type: ignore[arg-type]


def key(name: str, user: str | None = None, digest: str = "", **more: object) -> KeySpec:
    return KeySpec(name, name, digest or name.encode().hex(), user, **more)  # type: ignore[arg-type]


def test_without_a_managed_part_it_is_the_configured_one_and_the_groups_that_always_are():
    merged = merge(configured(), None)
    assert {each.name: each.weight for each in merged.groups} == DEFAULT_GROUPS
    assert (merged.generation, merged.created_utc, merged.users, merged.keys) == (7, 2.0, (), ())


def test_names_that_both_have_are_as_configured():
    merged = merge(
        configured(
            groups=(GroupSpec("lab", 5),),
            users=(UserSpec("ada", "lab"),),
            backends=(BackendSpec("b", "vllm", "http://here", 1),),
            models=(ModelSpec("m", 2.0),),
        ),
        managed(
            groups=(GroupSpec("lab", 6), GroupSpec("staff", 7)),
            users=(UserSpec("ada", "staff"), UserSpec("bob", "staff")),
            backends=(BackendSpec("b", "vllm", "http://there", 1), BackendSpec("c", "vllm", "http://there", 1)),
            models=(ModelSpec("m", 3.0), ModelSpec("n", 4.0)),
        ),
    )
    weights = {each.name: each.weight for each in merged.groups}
    assert (weights["lab"], weights["staff"], weights["admin"]) == (5, 7, 10)
    assert {each.name: each.group for each in merged.users} == {"ada": "lab", "bob": "staff"}
    assert {each.name: each.url for each in merged.backends} == {"b": "http://here", "c": "http://there"}
    assert {each.name: each.budget_weight for each in merged.models} == {"m": 2.0, "n": 4.0}


def test_the_same_key_in_both_is_the_configured_one_and_no_error():
    merged = merge(configured(keys=(key("a", digest="ff"),)), managed(keys=(key("b", digest="ff"), key("c"))))
    assert [each.name for each in merged.keys] == ["a", "c"]


def test_a_configured_key_brings_its_user_along_unless_somebody_lists_it():
    keys = (key("a", "ada", group="staff"), key("b", "bob", group="staff"))
    merged = merge(configured(keys=keys), managed(users=(UserSpec("bob", "faculty"),)))
    assert {each.name: each.group for each in merged.users} == {"ada": "staff", "bob": "faculty"}


@pytest.mark.parametrize(
    ("wanted", "group"),
    [
        (key("a", "gone", group="admin"), "other"),
        (key("a", group="gone"), "other"),
        (key("a", group="admin"), "admin"),
        (key("a", "ada", group="staff"), "staff"),
    ],
)
def test_a_managed_key_without_its_user_or_group_can_do_least(wanted: KeySpec, group: str):
    merged = merge(configured(), managed(keys=(wanted,), users=(UserSpec("ada", "staff"),)))
    assert [each.group for each in merged.keys] == [group]


def test_a_user_whose_group_is_gone_is_in_other_with_its_limits():
    groups = (GroupSpec("other", 1, Limits(tokens_per_minute=5)),)
    merged = merge(configured(), managed(groups=groups, users=(UserSpec("ada", "gone"),)))
    assert merged.users == (UserSpec("ada", "other", None, Limits(tokens_per_minute=5)),)


def test_limits_are_the_groups_where_the_user_sets_none():
    group = Limits(requests_per_minute=1, token_budget=10, budget_period="monthly")
    assert filled(Limits(tokens_per_minute=7), group) == Limits(1, 7, None, 10, "monthly")
    assert filled(Limits(token_budget=3), group) == Limits(1, None, None, 3, "lifetime")


names = st.sampled_from(["a", "b", "c", "other"])
limits = st.builds(
    Limits, st.none() | st.integers(0, 9), st.none(), st.none(), st.none() | st.integers(0, 9), st.just("monthly")
)
groups = st.lists(st.builds(GroupSpec, names, st.integers(1, 9), limits), max_size=3)
users = st.lists(st.builds(UserSpec, names, names, st.none(), limits), max_size=3)
keys = st.lists(st.builds(key, names, st.none() | names, group=names), max_size=3, unique_by=lambda each: each.digest)


@given(st.tuples(groups, users, keys, groups, users, keys))
def test_every_merge_is_complete_and_merging_it_again_changes_nothing(parts: tuple[list, ...]):
    merged = merge(
        configured(groups=tuple(parts[0]), users=tuple(parts[1]), keys=tuple(parts[2])),
        managed(groups=tuple(parts[3]), users=tuple(parts[4]), keys=tuple(parts[5])),
    )
    for entries in (merged.groups, merged.users):
        found = [each.name for each in entries]
        assert len(found) == len(set(found))
    digests = [each.digest for each in merged.keys]
    assert sorted(digests) == sorted({each.digest for each in (*parts[2], *parts[5])})
    assert {each.group for each in merged.users} <= {each.name for each in merged.groups}
    if {each.user for each in merged.keys} <= {None, *(each.name for each in merged.users)}:
        assert merge(merged, None) == merged
        assert merge(merged, managed(groups=merged.groups, users=merged.users, keys=merged.keys)) == merged
