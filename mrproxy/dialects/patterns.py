"""Pure. Regular expressions that a caller gives us in a JSON schema, run only where they cannot run away.

Python's engine backtracks: `(a+)+$` against thirty characters takes minutes, holds the interpreter's lock and cannot be
interrupted. So a pattern is read first. The simple ones (characters, classes, groups, alternatives, repeats of one
character or class) have a bound on the ways they can be tried against a text of known length; within `MAX_WAYS` they
are run, everything else is left unchecked. Look-arounds, references and repeated groups are never run.

`\\d`, `\\w` and `$` mean what they mean in ECMA-262 (JSON Schema 2020-12, core §6.4): ASCII, and the very end.
An engine that takes linear time (RE2) would check more; it is one more compiled dependency for a rare keyword.
"""

import re
from dataclasses import dataclass
from typing import Self

MAX_WAYS = 1_000_000

_CLASS = r"\[\^?(?:\\[dDwWsSnrtfv]|\\[^A-Za-z0-9]|[^\]\\\[])+\]"
_ONE = rf"\.|\\[dDwWsSnrtfv]|\\[^A-Za-z0-9]|{_CLASS}|[^\\\[\](){{}}*+?|^$.]"
_TOKEN = re.compile(
    rf"(?:(?P<open>\((?:\?:)?)|(?P<close>\))|(?P<bar>\|)|(?P<start>\^)|(?P<end>\$)|(?P<one>{_ONE}))"
    r"(?P<repeat>(?:[*+?]|\{(?P<least>\d{1,4})(?P<comma>,(?P<most>\d{0,4}))?\})\??)?",
    re.DOTALL,
)
# Python warns of these in a class: they may come to mean something.
_AMBIGUOUS = re.compile(r"--|&&|~~|\|\|")


class _NotSimple(Exception):
    """Nothing is known of how long the pattern may take."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """There are `ways` to try it, times the length of the text for each of `repeats`."""

    expression: re.Pattern[str]
    ways: int
    repeats: int

    @classmethod
    def read(cls, text: str) -> Self | None:
        """None if it is not one of the simple ones."""
        try:
            tokens = _tokens(text)
            reader = _Reader(text)
            for token in tokens:
                reader.take(token)
            expression = re.compile("".join(r"\Z" if token["end"] else token[0] for token in tokens), re.ASCII)
            return cls(expression, reader.ways(), reader.repeats)
        except (_NotSimple, re.error, OverflowError):
            return None

    def ways_in(self, text: str) -> int:
        """In how many ways, at most, it is tried against the text."""
        return int(self.ways * (len(text) + 1) ** self.repeats)

    def is_in(self, text: str) -> bool | None:
        """Whether it matches somewhere in the text; None if that could take too long to find out."""
        return None if self.ways_in(text) > MAX_WAYS else self.expression.search(text) is not None


def _tokens(text: str) -> list[re.Match[str]]:
    found: list[re.Match[str]] = []
    place = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None:
            raise _NotSimple
        found.append(token)
        place = token.end()
    return found


class _Reader:
    """Multiplies the choices of a pattern as its tokens pass: those of its repeats, and each group's alternatives."""

    def __init__(self, text: str) -> None:
        self._choices = 1
        self._branches = [1]  # of each group that is open, the whole pattern first
        # Without an anchor every place of the text is a start.
        self.repeats = 0 if text.startswith("^") else 1

    def ways(self) -> int:
        if len(self._branches) != 1:
            raise _NotSimple
        return self._choices * self._branches[0]

    def take(self, token: re.Match[str]) -> None:
        if token["open"]:
            self._branches.append(1)
        elif token["close"]:
            self._close()
        elif token["bar"]:
            self._take_bar()
        elif token["one"] and len(token["one"]) > 2 and _AMBIGUOUS.search(token["one"]):
            raise _NotSimple
        if token["repeat"]:
            self._take_repeat(token)

    def _close(self) -> None:
        if len(self._branches) == 1:
            raise _NotSimple
        self._choices *= self._branches.pop()

    def _take_bar(self) -> None:
        self._branches[-1] += 1
        if len(self._branches) == 1:
            self.repeats = max(self.repeats, 1)  # `^a|b`: only the first alternative is anchored

    def _take_repeat(self, token: re.Match[str]) -> None:
        sign = token["repeat"][0]
        if not (token["one"] or (token["close"] and sign == "?")):
            raise _NotSimple
        if sign == "?":
            self._choices *= 2
        elif sign in "*+" or (token["comma"] and not token["most"]):
            self.repeats += 1
        elif token["comma"]:
            self._choices *= max(1, int(token["most"]) - int(token["least"]) + 1)
