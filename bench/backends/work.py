"""Pure. What an engine's dialect says about one request: an answer at once, or work that takes time.

The dialects (`vllm.py`, `ollama.py`) turn requests into these values; the engine (`engine.py`) turns them into
bytes at the right moments. A token event is a `bytes` template with one `%019d` in it for the stamp (monotonic
nanoseconds), chunk framing included, so that a token costs one format and one send.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

STAMP = b"%019d"
# Every token's text: `t`, the stamp, a space. Fixed width, so that all events of a stream have one size.
TOKEN_TEXT = b"t" + STAMP + b" "
TOKEN_TEXT_BYTES = 21
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer, head included; `closes` where the engine ends the connection after it."""

    data: bytes
    status: int = 200
    closes: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """What an engine tells its operators."""

    running: int
    waiting: int
    prompt_tokens: int
    generation_tokens: int


@dataclass(slots=True)
class Timing:
    """When things happened to one request, monotonic nanoseconds; 0 = not yet."""

    arrived_ns: int
    load_ns: int = 0
    started_ns: int = 0
    first_ns: int = 0
    ended_ns: int = 0


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of a stream: its events, and which of them is the usage event (a proxy may cut it)."""

    events: tuple[bytes, ...]
    usage_index: int | None = None


class Work(msgspec.Struct, frozen=True):
    """A struct, since one is made per request: the frozen dataclass of as many fields took 7 µs more to make."""

    model: str
    route: str
    id: str
    prompt_tokens: int
    completion_tokens: int
    stream: bool
    head: bytes
    head_at_once: bool  # vLLM sends its head before the first token exists, Ollama with it
    opening: tuple[bytes, ...]  # events before the first token
    event: bytes  # one token's event without framing, as a template
    is_dated: bool  # the template starts with %b for the wall clock, as Ollama's events carry it
    closing: Callable[[Timing, int], Closing]  # (timing, tokens sent)
    whole: Callable[[Timing, int], bytes]  # the answer when not streaming, head included
    keep_alive_seconds: float | None = None
    fault: str = ""
    # Where the prompt chooses the answer: the events of each token (maybe none) take the place of `event`. With
    # `is_dated` each is a template with one %b.
    script: tuple[tuple[bytes, ...], ...] | None = None
    failure: tuple[bytes, ...] = ()  # the events by which the engine says, mid-stream, that it failed
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    num_ctx: int | None = None  # Ollama: the context length that the model has to be loaded with


def frame(event: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(event), event)


def frame_template(work: Work, dated_bytes: int) -> tuple[bytes, int, int]:
    """The token template with chunk framing, where its payload begins, and the payload's size.

    `dated_bytes` is the width of what replaces %b.
    """
    size = len(work.event % ((b" " * dated_bytes, 0) if work.is_dated else 0))
    line = b"%x\r\n" % size
    return line + work.event + b"\r\n", len(line), size


def escape_template(data: bytes) -> bytes:
    """Bytes that go into a template as they are."""
    return data.replace(b"%", b"%%")
