"""Pure. Server-sent events, taken apart: bytes in, the data of each complete event out (WHATWG HTML §9.2.6).

Half an event, or half a character, waits for its rest. Lines end with LF or CRLF; no engine ends them with CR alone.
"""

# An event is a few hundred bytes; the arguments of a tool call at once may be some megabytes.
MAX_HELD_BYTES = 16 * 1024 * 1024


class EventStream:
    """`is_overlong`: an event does not end; what follows is not read any more."""

    __slots__ = ("_held", "_pieces", "_return", "_size", "is_overlong")

    def __init__(self) -> None:
        self._held = b""
        self._pieces: list[bytes] = []
        self._return = b""  # a CR whose LF may follow
        self._size = 0
        self.is_overlong = False

    def receive_data(self, data: bytes) -> list[bytes]:
        if self._return or b"\r" in data:
            data = self._return + data
            self._return = data[-1:] if data.endswith(b"\r") else b""
            data = data.removesuffix(b"\r").replace(b"\r\n", b"\n")
        if b"\n" not in data:  # nothing can end here: joined when something does
            self._keep(data)
            return []
        if self._size:
            data = b"".join([self._held, *self._pieces, data])
            self._pieces.clear()
        *events, self._held = data.split(b"\n\n")
        self._size = len(self._held)
        self._keep(b"")
        return [found for event in events if (found := _data_of(event))]

    def finish(self) -> bytes:
        """The data of an event that came without its blank line."""
        return _data_of(b"".join([self._held, *self._pieces]))

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_HELD_BYTES:
            self.is_overlong = True
        elif data:
            self._pieces.append(data)


def _data_of(event: bytes) -> bytes:
    place = event.find(b"data:")
    if place < 0:
        return b""
    data = event[place + 5 :]
    if b"\n" not in data and (place == 0 or event[place - 1] == 10):
        return data
    lines = [line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)
