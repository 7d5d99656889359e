"""Pure. What is kept of one request's bodies, when bodies are kept at all: the beginning of each."""


class Body:
    """The first `max_bytes` of what is received; `is_truncated` when there was more."""

    __slots__ = ("_max_bytes", "is_truncated", "kept")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.kept = bytearray()
        self.is_truncated = False

    def receive_data(self, data: bytes) -> None:
        if self.is_truncated:
            return
        room = self._max_bytes - len(self.kept)
        if len(data) > room:
            self.is_truncated = True
            data = data[:room]
        self.kept += data


class Capture:
    """A request's body as the caller sent it, and the payload of its answer as it is sent on."""

    __slots__ = ("answer", "request")

    def __init__(self, request: bytes, max_bytes: int) -> None:
        self.request = Body(max_bytes)
        self.request.receive_data(request)
        self.answer = Body(max_bytes)
