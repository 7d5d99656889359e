"""Inputs for fuzzers that need many: examples changed byte by byte, or in the JSON that they are made of.

Faster than Hypothesis, which shrinks and remembers; what `tests/fuzzing.py` draws is meant for the suite.
"""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

Json: TypeAlias = Any
# A shorter text is part of a message rather than one.
_EXAMPLE_BYTES = 16
# Of what no example has enough: nesting, broken text, numbers that fit nowhere, ends of events and lines.
_SNIPPETS = (
    b"[" * 1500, b'{"a":' * 1500, b"\xff", b"\xc3", b"\\ud800", b"\\u0000", b"1e999", b"-", b"9" * 400, b"null", b"{}",
    b"[]", b'""', b'"', b"\\", b",", b":", b"}", b"]", b"\n", b"\n\n", b"\r\n\r\n", b"\r", b"data: ", b"event: ",
    b"data: [DONE]\n\n", b"true", b"0", b"-1", b"1.5", b"x" * 2000,
)  # fmt: skip
_ODD_VALUES: tuple[Json, ...] = (
    None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, 2**53, 2**63, 10**30, "", "x", " ", "\n", "é🌍", "null", "x" * 2000,
    "\x00", "{}", '{"a":1}', [], {}, [[]], [None], [{}], {"": None}, {"type": "text"}, [""], [0],
)  # fmt: skip


class Mutator:
    """Makes inputs from examples; the same seed makes the same ones."""

    def __init__(self, texts: Iterable[bytes], seed: object) -> None:
        ordered = sorted(set(texts))
        self.examples = tuple(text for text in ordered if len(text) >= _EXAMPLE_BYTES)
        self._snippets = (*_SNIPPETS, *(text for text in ordered if len(text) < _EXAMPLE_BYTES))
        self._chance = random.Random(str(seed))
        self._values: list[Json] = list(_ODD_VALUES)
        self._names: list[str] = []
        for example in self.examples:
            for _, _, value in _documents(example):
                self._learn(value)

    def _learn(self, value: Json) -> None:
        """What stands in one example may stand in another one, under any name."""
        self._values.append(value)
        inner: Iterable[Json] = ()
        if isinstance(value, dict):
            self._names += value
            inner = value.values()
        elif isinstance(value, list):
            inner = value
        for each in inner:
            self._learn(each)

    def inputs(self) -> Iterator[bytes]:
        """Without end; first the examples as they are."""
        yield from self.examples
        while True:
            yield self.mutate()

    def mutate(self) -> bytes:
        """One of the examples, with a few changes."""
        chance = self._chance
        data = chance.choice(self.examples)
        for _ in range(chance.choice((1, 1, 2, 3, 5))):
            data = self._change_value(data) if chance.random() < 0.6 else self._change_bytes(data)
        return data

    def _change_value(self, data: bytes) -> bytes:
        """In one of its documents; as bytes where it has none."""
        documents = _documents(data)
        if not documents:
            return self._change_bytes(data)
        start, end, value = self._chance.choice(documents)
        spaces = self._chance.choice(((",", ":"), (", ", ": ")))
        changed = json.dumps(self._changed(value), separators=spaces, ensure_ascii=self._chance.random() < 0.3)
        return data[:start] + changed.encode("utf-8", "replace") + data[end:]

    def _changed(self, value: Json) -> Json:
        """With another value somewhere in it, one more, or one less."""
        chance = self._chance
        is_here = chance.random() < 0.25
        if isinstance(value, dict) and value and not is_here:
            name = chance.choice(list(value))
            return value | {name: self._changed(value[name])}
        if isinstance(value, list) and value and not is_here:
            place = chance.randrange(len(value))
            return [*value[:place], self._changed(value[place]), *value[place + 1 :]]
        if isinstance(value, dict) and chance.random() < 0.7:
            if value and chance.random() < 0.3:
                gone = chance.choice(list(value))
                return {name: each for name, each in value.items() if name != gone}
            return value | {chance.choice(self._names or ["a"]): chance.choice(self._values)}
        if isinstance(value, list) and chance.random() < 0.7:
            place = chance.randint(0, len(value))
            return [*value[:place], chance.choice(value or self._values), *value[place:]]
        return chance.choice(self._values)

    def _change_bytes(self, data: bytes) -> bytes:
        chance = self._chance
        place = chance.randint(0, len(data))
        match chance.randrange(8):
            case 0:
                return data[:place] + chance.choice(self._snippets) + data[place:]
            case 1:
                return data[:place] + chance.choice(self._snippets) + data[place + chance.randint(1, 12) :]
            case 2:
                return data[:place] + data[place + chance.randint(1, 8) :]
            case 3:
                return data[:place] + chance.randbytes(chance.randint(1, 3)) + data[place + 1 :]
            case 4:
                end = place + chance.randint(1, 200)
                return data[:end] + data[place:end] + data[end:]
            case 5:
                return self._change_order(data)
            case 6:
                return data[:place]
            case _:  # once more what ends somewhere
                end = data.find(chance.choice((b"\n", b",", b"}", b'"')), place) + 1
                return data[:end] + data[place:end] + data[end:]

    def _change_order(self, data: bytes) -> bytes:
        """Of events or lines; some come from another example."""
        chance = self._chance
        mark = b"\n\n" if b"\n\n" in data else b"\n"
        pieces = data.split(mark)
        others = chance.choice(self.examples).split(mark)
        place = chance.randint(0, len(pieces))
        if chance.random() < 0.5:
            return mark.join([*pieces[:place], chance.choice(others), *pieces[place:]])
        chance.shuffle(pieces)
        return mark.join(pieces)


def _documents(data: bytes) -> Sequence[tuple[int, int, Json]]:
    """Each JSON object in it that stands alone, or in a line of its own: where it begins and ends, and its value."""
    if (found := _read(data, 0, len(data))) is not None:
        return [found]
    documents, start = [], 0
    for line in data.splitlines(keepends=True):
        brace = line.find(b"{")
        if brace >= 0 and (found := _read(data, start + brace, start + len(line.rstrip()))) is not None:
            documents.append(found)
        start += len(line)
    return documents


def _read(data: bytes, start: int, end: int) -> tuple[int, int, Json] | None:
    try:
        value = json.loads(data[start:end])
    except (ValueError, RecursionError):
        return None
    return (start, end, value) if isinstance(value, dict) else None
