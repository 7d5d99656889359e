"""Pure. Server-sent events of an engine, however they are cut: the data of each whole event, as bytes.

OpenAI's streams have data alone, and Anthropic's say in it what their names say; names, ids and comments are skipped.
llama.cpp before 2025 put an error into a field of that name: it is data too. A line that is no field of a stream at all
(an HTML page, a JSON document) is an `Alien`. Lines end with LF or CRLF; no engine ends them with CR alone.
Invariant: at most MAX_HELD_BYTES of an incomplete event are kept, and a read costs what it brings.
Source: WHATWG HTML §9.2.6 (2026).
"""

import msgspec

# The longest events seen are a completion's echo of a whole prompt with logprobs: some MiB.
MAX_HELD_BYTES = 16 * 1024 * 1024
# Beyond its bytes a line is an object with a place in a list: without these, empty lines would be an event without end.
_LINE_BYTES = 48


class Alien(msgspec.Struct, frozen=True):
    """A line that belongs to no event stream, or too long an event (then `line` is empty)."""

    line: bytes


_NAMES = (b"data", b"event", b"error", b"id", b"retry")
_SKIPPED = (b"event", b"id", b"retry", b":")


class SseReader:
    """After an Alien nothing more comes."""

    __slots__ = ("_data", "_data_bytes", "_held", "_held_bytes", "_is_over")

    def __init__(self) -> None:
        self._held: list[bytes] = []  # pieces of a line that has not ended
        self._held_bytes = 0
        self._data: list[bytes] = []  # lines of an event that has not ended
        self._data_bytes = 0
        self._is_over = False

    def receive_data(self, data: bytes) -> list[bytes | Alien]:
        if self._is_over:
            return []
        lines = data.split(b"\n")
        rest = lines.pop()
        events: list[bytes | Alien] = []
        if lines:
            if self._held:
                lines[0] = b"".join((*self._held, lines[0]))
                self._held = []
                self._held_bytes = 0
            events = self._read(lines)
        if rest:
            self._held.append(rest)
            self._held_bytes += len(rest)
        if self._held_bytes + self._data_bytes > MAX_HELD_BYTES and not self._is_over:
            self._is_over = True
            events.append(Alien(b""))
        return events

    def finish(self) -> list[bytes | Alien]:
        """The body has ended: an event without its blank line counts, half a field's name is nothing."""
        if self._is_over:
            return []
        last = b"".join(self._held)
        is_cut_off = any(name.startswith(last) for name in _NAMES)
        return self._read([b"" if is_cut_off else last, b""])

    def _read(self, lines: list[bytes]) -> list[bytes | Alien]:
        events: list[bytes | Alien] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:])
                self._data_bytes += len(line) + _LINE_BYTES
            elif not line or line == b"\r":
                if self._data:
                    events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                    self._data = []
                    self._data_bytes = 0
            elif line.startswith(b"error:"):
                self._data.append(line[6:])
                self._data_bytes += len(line) + _LINE_BYTES
            elif not line.startswith(_SKIPPED) and line.strip():
                self._is_over = True
                events.append(Alien(line))
                break
        return events
