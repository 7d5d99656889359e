"""Pure. The last requests that a mock engine got, and what became of each: for tests to look at.

Noting one costs a tuple; it is put into words when somebody asks. A sequence is read then, so that an entry says how
far a request is now.
"""

from collections import deque
from typing import Any

import msgspec

from bench.backends.emitter import Sequence
from bench.http1 import Request

MAX_REMEMBERED = 500
# Bodies with pictures in them are long, and a soak sends many.
MAX_BODY_BYTES = 1 << 20

Json = Any


class Transcript:
    def __init__(self) -> None:
        self._entries: deque[tuple[int, Request, Sequence | None, int]] = deque(maxlen=MAX_REMEMBERED)
        self._order = 0

    def reset(self) -> None:
        self._entries.clear()
        self._order = 0

    def note(self, request: Request, sequence: Sequence | None, status: int) -> None:
        """`status` is 0 where a fault took the place of the answer."""
        self._order += 1
        self._entries.append((self._order, request, sequence, status))

    def last(self, count: int, request_id: str = "") -> list[dict[str, Json]]:
        """The last `count`, oldest first; with `request_id` only those whose x-request-id it is."""
        entries = [entry for entry in self._entries if not request_id or _request_id(entry[1]) == request_id]
        return [_describe(*entry) for entry in entries[-count:]] if count > 0 else []


def _request_id(request: Request) -> str:
    return request.header(b"x-request-id").decode("latin-1")


def _describe(order: int, request: Request, sequence: Sequence | None, status: int) -> dict[str, Json]:
    """Header values are in lower case, as the mock reads them."""
    lines = request.head.decode("latin-1").split("\r\n")[1:]
    described = {
        "order": order,
        "method": request.method.decode("latin-1"),
        "path": request.path.decode("latin-1"),
        "request_id": _request_id(request),
        "headers": {name: value.strip() for name, _, value in (line.partition(":") for line in lines)},
        "body": _read_body(request.body),
        "body_bytes": len(request.body),
        "status": status,
    }
    return described | (_progress(sequence) if sequence is not None else {})


def _read_body(body: bytes) -> Json:
    if len(body) > MAX_BODY_BYTES:
        return None
    try:
        return msgspec.json.decode(body) if body else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode("utf-8", "replace")


def _progress(sequence: Sequence) -> dict[str, Json]:
    """What the engine has truly counted: the tokens of an aborted stream are those made until then."""
    work, timing = sequence.work, sequence.timing
    made = sequence.sent if work.stream else work.completion_tokens if timing.ended_ns else 0
    if sequence.is_alive:
        state = "running" if timing.started_ns else "waiting"
    else:
        state = "done" if timing.ended_ns else "aborted"
    return {
        "id": work.id,
        "model": work.model,
        "stream": work.stream,
        "state": state,
        "prompt_tokens": work.prompt_tokens,
        "completion_tokens": made,
        "cached_tokens": work.cached_tokens,
        "reasoning_tokens": min(work.reasoning_tokens, made),
        "num_ctx": work.num_ctx,
        "load_ns": timing.load_ns,
    }
