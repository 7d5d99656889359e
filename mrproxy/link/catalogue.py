"""Pure. A snapshot as a worker holds it: the users and keys as text, with the place of each, decoded when asked for.

A hundred thousand keys as objects are 60 MB and more, and most of them are never used; as text they are 12 MB, with
their places 30. They are checked and found in slices (`catalogue_of`), between which a worker serves its clients.
The dicts are in shards for the same reason: a dict that grows moves all it has, and one that goes frees it, at once.
Read next: `snapshot.py`, which writes the layout; `mrproxy/identity/callers.py` and `mrproxy/ledger/entry.py`.
"""

from collections.abc import Callable, Generator

import msgspec

from mrproxy.link.snapshot import (
    KEYS_BEGIN,
    KEYS_END,
    USERS_BEGIN,
    USERS_END,
    GroupSpec,
    KeySpec,
    Snapshot,
    SnapshotError,
    UserSpec,
    decode,
    encode,
)

# A slice is a third of a millisecond.
_SLICE_LINES = 200
_SHARDS = 64

_Add = Callable[[bytes, int], None]
_decode_key = msgspec.json.Decoder(KeySpec).decode
_decode_user = msgspec.json.Decoder(UserSpec).decode


class Catalogue:
    """`head` is the snapshot without its users and keys, which are found by name and by digest."""

    __slots__ = ("_key_places", "_text", "_user_places", "groups", "head", "key_count")

    def __init__(self, head: Snapshot, text: bytes) -> None:
        self.head = head
        self.groups: dict[str, GroupSpec] = {group.name: group for group in head.groups}
        self.key_count = 0
        self._text = text
        self._user_places: list[dict[str, int]] = [{} for _ in range(_SHARDS)]
        self._key_places: list[dict[bytes, int]] = [{} for _ in range(_SHARDS)]

    def find_key(self, digest: bytes) -> KeySpec | None:
        place = self._key_places[digest[0] % _SHARDS].get(digest)
        return None if place is None else _decode_key(self._line(place))

    def find_user(self, name: str) -> UserSpec | None:
        place = self._user_places[hash(name) % _SHARDS].get(name)
        return None if place is None else _decode_user(self._line(place))

    def dismantle(self) -> Generator[None]:
        """Free it slice by slice; it is not usable afterwards."""
        while self._key_places:
            self._key_places.pop()
            self._user_places.pop()
            yield

    def _line(self, place: int) -> bytes:
        return self._text[place : self._text.find(b"\n", place)].rstrip(b",")

    def _add_user(self, line: bytes, place: int) -> None:
        name = _decode_user(line).name
        self._user_places[hash(name) % _SHARDS][name] = place

    def _add_key(self, line: bytes, place: int) -> None:
        digest = bytes.fromhex(_decode_key(line).digest)
        self._key_places[digest[0] % _SHARDS][digest] = place
        self.key_count += 1


def catalogue_of(data: bytes) -> Generator[None, None, Catalogue]:
    """A catalogue is what it returns; it yields between slices. Raises SnapshotError: all of it is looked at."""
    users_at = data.find(USERS_BEGIN)
    if users_at < 0:  # not in our layout: an older version's
        data = encode(decode(data))
        users_at = data.find(USERS_BEGIN)
    catalogue = Catalogue(decode(data[:users_at].rstrip(b",") + b"}"), data)
    place = users_at + len(USERS_BEGIN)
    try:
        place = yield from _read_lines(data, place, USERS_END, catalogue._add_user)
        if not data.startswith(KEYS_BEGIN, place):
            raise SnapshotError("not a snapshot: there are no keys behind the users")
        place = yield from _read_lines(data, place + len(KEYS_BEGIN) + 1, KEYS_END, catalogue._add_key)
    except (msgspec.MsgspecError, ValueError, IndexError) as exc:
        raise SnapshotError(f"not a snapshot: {exc}") from exc
    return catalogue


def made(steps: Generator[None, None, Catalogue]) -> Catalogue:
    """All steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            catalogue: Catalogue = end.value
            return catalogue


def catalogue_from(snapshot: Snapshot) -> Catalogue:
    return made(catalogue_of(encode(snapshot)))


def _read_lines(data: bytes, place: int, last: bytes, add: _Add) -> Generator[None, None, int]:
    """One entry after the other, up to the line that is `last`; returns where the line after it begins."""
    while True:
        for _ in range(_SLICE_LINES):
            end = data.find(b"\n", place)
            if end < 0:
                raise SnapshotError("not a snapshot: it ends too early")
            line = data[place:end]
            if line == last:
                return end + 1
            add(line.rstrip(b","), place)
            place = end + 1
        yield
