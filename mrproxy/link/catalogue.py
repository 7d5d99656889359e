"""Pure. A snapshot as a worker holds it: the users and keys as text, with the place of each, decoded when asked for.

A hundred thousand keys as objects are 60 MB and more, and most of them are never used; as text they are 12 MB, with
their places 30. They are checked and found in slices (`catalogue_of`), between which a worker serves its clients.
The dicts are in shards for the same reason: a dict that grows moves all it has, and one that goes frees it, at once.
Read next: `snapshot.py`, which writes the layout; `mrproxy/identity/callers.py` and `mrproxy/ledger/entry.py`.
"""

from collections.abc import Callable, Generator, Iterable
from itertools import accumulate

import msgspec

from mrproxy.link.snapshot import (
    KEYS_BEGIN,
    KEYS_END,
    USERS_BEGIN,
    GroupSpec,
    KeySpec,
    Snapshot,
    SnapshotError,
    UserSpec,
    decode,
    encode,
)

# A slice is 600 keys or 1,000 users, two thirds of a millisecond.
_SLICE_BYTES = 80_000
_SHARDS = 64

_Add = Callable[[bytes, Iterable[int]], None]
_decode_key = msgspec.json.Decoder(KeySpec).decode
_decode_user = msgspec.json.Decoder(UserSpec).decode
_decode_keys = msgspec.json.Decoder(list[KeySpec]).decode
_decode_users = msgspec.json.Decoder(list[UserSpec]).decode


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

    def _add_users(self, text: bytes, places: Iterable[int]) -> None:
        shards = self._user_places
        for user, place in zip(_decode_users(text), places, strict=True):
            name = user.name
            shards[hash(name) % _SHARDS][name] = place

    def _add_keys(self, text: bytes, places: Iterable[int]) -> None:
        shards = self._key_places
        keys = _decode_keys(text)
        for key, place in zip(keys, places, strict=True):
            digest = bytes.fromhex(key.digest)
            shards[digest[0] % _SHARDS][digest] = place
        self.key_count += len(keys)


def catalogue_of(data: bytes) -> Generator[None, None, Catalogue]:
    """A catalogue is what it returns; it yields between slices. Raises SnapshotError: all of it is looked at."""
    users_at, keys_at = data.find(USERS_BEGIN), data.find(KEYS_BEGIN)
    if users_at < 0 or keys_at < users_at:  # not in our layout: an older version's
        data = encode(decode(data))
        users_at, keys_at = data.find(USERS_BEGIN), data.find(KEYS_BEGIN)
    catalogue = Catalogue(decode(data[:users_at].rstrip(b",") + b"}"), data)
    try:
        yield from _read_lines(data, users_at + len(USERS_BEGIN), keys_at + 1, catalogue._add_users)
        if not data.endswith(KEYS_END):
            raise SnapshotError("not a snapshot: it ends too early")
        end = len(data) - len(KEYS_END) + 1
        yield from _read_lines(data, keys_at + len(KEYS_BEGIN), end, catalogue._add_keys)
    except (msgspec.MsgspecError, ValueError, IndexError) as exc:
        raise SnapshotError(f"not a snapshot: {exc}") from exc
    return catalogue


def _read_lines(data: bytes, place: int, end: int, add: _Add) -> Generator[None, None, None]:
    """The lines from `place` to `end`, some at a time: what JSON they are, and where each begins."""
    while place < end:
        slice_end = end
        if end - place > _SLICE_BYTES:
            slice_end = data.index(b"\n", place + _SLICE_BYTES) + 1
        piece = data[place:slice_end]
        lengths = [len(line) + 1 for line in piece.split(b"\n")[:-1]]
        add(b"[%b]" % piece.rstrip(b",\n"), accumulate(lengths[:-1], initial=place))
        place = slice_end
        yield


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
