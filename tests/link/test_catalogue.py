"""What is in a snapshot is found in its catalogue; what is no snapshot makes none."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.link.catalogue import Catalogue, catalogue_from, catalogue_of, made
from mrproxy.link.snapshot import GroupSpec, KeySpec, Limits, Snapshot, SnapshotError, UserSpec, decode, encode


def digest(number: int) -> bytes:
    return number.to_bytes(16)


def snapshot(count: int) -> Snapshot:
    return Snapshot(
        generation=3,
        created_utc=0.0,
        groups=(GroupSpec("staff", 2),),
        users=tuple(UserSpec(f"user {number}", "staff") for number in range(count)),
        keys=tuple(KeySpec(str(number), "", digest(number).hex(), f"user {number}") for number in range(count)),
    )


FULL = snapshot(1000)


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_every_user_and_key_is_found_and_no_other(count: int):
    given_snapshot = snapshot(count)
    catalogue = catalogue_from(given_snapshot)
    assert [catalogue.find_key(digest(number)) for number in range(count)] == list(given_snapshot.keys)
    assert [catalogue.find_user(f"user {number}") for number in range(count)] == list(given_snapshot.users)
    assert catalogue.find_key(digest(count)) is None
    assert catalogue.find_user(f"user {count}") is None
    assert catalogue.key_count == count
    assert catalogue.head == msgspec.structs.replace(given_snapshot, users=(), keys=())
    assert catalogue.groups == {"staff": GroupSpec("staff", 2)}


def test_it_is_made_and_freed_in_slices():
    assert sum(1 for _ in catalogue_of(encode(FULL))) == 3
    assert sum(1 for _ in catalogue_of(encode(snapshot(10_000)))) > 10
    catalogue = catalogue_from(FULL)
    assert sum(1 for _ in catalogue.dismantle()) == 64


@pytest.mark.parametrize("indent", [-1, 1])
def test_other_layouts_of_the_same_json_are_read_too(indent: int):
    catalogue = made(catalogue_of(msgspec.json.format(msgspec.json.encode(FULL), indent=indent)))
    assert catalogue.find_key(digest(7)) == FULL.keys[7]


@pytest.mark.parametrize("name", ['"users":[', '\n"users":[\n{}\n],', '","digest":"ff', "ä\u2028", "x" * 5000])
def test_no_name_is_taken_for_layout(name: str):
    odd = Snapshot(
        generation=1,
        created_utc=0.0,
        groups=(GroupSpec(name),),
        users=(UserSpec(name, name, limits=Limits(token_budget=1)),),
        keys=(KeySpec("i", name, "00ff", name),),
    )
    assert decode(encode(odd)) == odd
    catalogue = catalogue_from(odd)
    assert catalogue.find_key(b"\x00\xff") == odd.keys[0]
    assert catalogue.find_user(name) == odd.users[0]


@given(st.integers(0, len(encode(snapshot(3))) - 2))
def test_a_torn_snapshot_makes_no_catalogue(length: int):
    with pytest.raises(SnapshotError):
        made(catalogue_of(encode(snapshot(3))[:length]))


@given(st.integers(0, len(encode(snapshot(3))) - 2), st.integers(0, 255))
def test_a_damaged_byte_breaks_nothing_otherwise_than_by_snapshot_error(place: int, byte: int):
    data = bytearray(encode(snapshot(3)))
    data[place] = byte
    with contextlib.suppress(SnapshotError):
        assert isinstance(made(catalogue_of(bytes(data))), Catalogue)
