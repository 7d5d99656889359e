"""Pure. Finds the true usage in an answer that passes by, and cuts the usage event that the caller did not ask for.

A tap sees the payload (chunk framing already removed). The relay spares it most of the stream: a read that is exactly
whole chunks, ends with `tap.tail` and does not hold `tap.marker` is neither the usage nor half of it, and passes
unseen. Whatever else comes goes through `receive_data`, which returns the bytes to forward.

Invariants, tested at every split: forwarded is what was received, minus the cut event. Of a stream only whole events
are, so that an error of ours fits in behind them; of a half one at most MAX_HELD_BYTES are held, and a longer one is
let through. A document is forwarded at once.
"""

import re
from typing import Annotated, Protocol

import msgspec

from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.unreadable import UNREADABLE

# A usage event is a few hundred bytes. A longer incomplete event is not one, and is let through.
MAX_HELD_BYTES = 65536
# A JSON answer up to here is read as a document; of a longer one (embeddings) only the end is searched.
MAX_DOCUMENT_BYTES = 65536
TAIL_BYTES = 4096
PING_COMMENT = b": ping\n\n"
_ERROR = b'{"error"'
_NO_TOKENS = (b"data: [DONE]", b"data: " + _ERROR)
BLANK_LINE = re.compile(rb"\r?\n\r?\n")


class Tap(Protocol):
    """What the relay asks of it; see the module's docstring."""

    marker: bytes
    tail: bytes
    usage: Usage | None
    events: int

    @property
    def cuts(self) -> bool:
        """It may take bytes out, so the answer cannot keep its length."""

    @property
    def is_aligned(self) -> bool:
        """Nothing is held or half seen: the fast path may take over."""

    @property
    def is_mid_event(self) -> bool:
        """A part of an event was let through, and its end was not: nothing else fits in now."""

    def receive_data(self, payload: bytes) -> bytes:
        """The bytes to forward now."""

    def finish(self) -> bytes:
        """At the end of the answer: what was held back."""

    def receive_whole(self, payload: bytes) -> None:
        """All of an answer at once, to be looked at only; instead of the other two. Not for a tap that cuts."""

    def skip(self, rest: int) -> int:
        """`rest` bytes of the body are to come: how many of them, beginning now, need not be shown to it. Less than
        all: whoever moves them must see the end. 0 if it looks at everything."""

    def ping(self) -> bytes:
        """A sign of life that fits in where the answer is now; empty where there is none."""


# Whatever an engine says, the ledger and the journal get a number that fits them.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _OpenAIUsage(msgspec.Struct, gc=False):
    """The newer names are those of images, speech and transcriptions (OpenAI API reference, 2026)."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None


class _OpenAIAnswer(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    usage: _OpenAIUsage | None = None


class _OpenAIDocument(msgspec.Struct, gc=False):
    """An answer that is not a stream: its choices are not looked at."""

    usage: _OpenAIUsage | None = None


class _OllamaAnswer(msgspec.Struct, gc=False):
    prompt_eval_count: Count | None = None
    eval_count: Count | None = None
    done: bool | None = None


_openai_answer = msgspec.json.Decoder(_OpenAIAnswer)
_openai_document = msgspec.json.Decoder(_OpenAIDocument)
_ollama_answer = msgspec.json.Decoder(_OllamaAnswer)


class PassTap:
    """For answers that nobody counts: everything passes."""

    __slots__ = ("events", "usage")
    cuts = False
    marker = b""
    tail = b""
    is_aligned = False
    is_mid_event = False

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.events = 0

    def receive_data(self, payload: bytes) -> bytes:
        return payload

    def finish(self) -> bytes:
        return b""

    def receive_whole(self, payload: bytes) -> None:
        pass

    def skip(self, rest: int) -> int:
        return max(0, rest - TAIL_BYTES)

    def ping(self) -> bytes:
        return b""


class SseTap:
    """OpenAI's server-sent events (vLLM, OpenAI, llama.cpp, Ollama's /v1).

    The usage event has `"choices":[]` and an object under `usage` (OpenAI API reference, `stream_options`, 2026).
    An engine that puts usage on its last choice instead is read, and nothing is cut.
    """

    __slots__ = ("_held", "_is_overlong", "_is_started", "cuts", "events", "usage")
    marker = b'"usage"'
    tail = b"\n\n\r\n"

    def __init__(self, cuts: bool) -> None:
        self.cuts = cuts
        self._held = b""
        self._is_overlong = False
        self._is_started = False
        self.usage: Usage | None = None
        self.events = 0

    @property
    def is_aligned(self) -> bool:
        return self._is_started and not self._held and not self._is_overlong

    @property
    def is_mid_event(self) -> bool:
        return self._is_overlong

    def receive_data(self, payload: bytes) -> bytes:
        self._is_started = True
        if self._is_overlong:
            return self._pass_overlong(payload)
        data = self._held + payload
        kept: list[bytes] = []
        position = 0
        for blank in BLANK_LINE.finditer(data):
            event = data[position : blank.end()]
            position = blank.end()
            if not self._is_cut(event):
                kept.append(event)
        self._held = data[position:]
        if len(self._held) > MAX_HELD_BYTES:
            kept.append(self._held)
            self._is_overlong = True
            self._held = self._held[-3:]
        return b"".join(kept)

    def _pass_overlong(self, payload: bytes) -> bytes:
        """Forward to the end of an event too long to be held; `_held` is its last bytes, forwarded before."""
        probe = self._held + payload
        blank = BLANK_LINE.search(probe)
        if blank is None:
            self._held = probe[-3:]
            return payload
        end = blank.end() - len(self._held)
        self.events += 1
        self._is_overlong = False
        self._held = b""
        return payload[:end] + self.receive_data(payload[end:])

    def finish(self) -> bytes:
        held, self._held = self._held, b""
        return b"" if self._is_overlong or self._is_cut(held) else held

    def receive_whole(self, payload: bytes) -> None:
        self.receive_data(payload)
        self.finish()

    def skip(self, rest: int) -> int:
        return 0

    def ping(self) -> bytes:
        """A comment (WHATWG HTML §9.2.6), between two events."""
        return b"" if self._is_overlong else PING_COMMENT

    def _is_cut(self, event: bytes) -> bool:
        """Look at one complete event; true when it is the usage event and the caller must not see it."""
        if b"data:" not in event[:64]:
            return False
        if self.marker not in event:
            # The opening event has a role and no text: it is no token. Nor are the end, and an error before it.
            is_opening = b'"role"' in event and (b'"content":""' in event or b'"content": ""' in event)
            if not is_opening and not event.startswith(_NO_TOKENS):
                self.events += 1
            return False
        try:
            answer = _openai_answer.decode(event_data(event))
        except UNREADABLE:
            self.events += 1
            return False
        if answer.usage is None:
            self.events += 1
            return False
        self.usage = _read_counts(answer.usage) or self.usage
        return self.cuts and answer.choices is not None and not answer.choices


def event_data(event: bytes) -> bytes:
    """The data lines of an SSE event, joined (WHATWG HTML §9.2.6)."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


class NdjsonTap:
    """Ollama's stream: a JSON object per line, counts in the last (`"done":true`; ollama docs/api.md). Cuts nothing.

    The last line of /api/generate holds the whole context as numbers, and the counts after it: a line that is too long
    to be held is let through, and its end is searched.
    """

    __slots__ = ("_line", "_skips", "events", "usage")
    cuts = False
    marker = b'_count"'
    tail = b"}\n\r\n"

    def __init__(self) -> None:
        self._line = b""
        self._skips = False
        self.usage: Usage | None = None
        self.events = 0

    @property
    def is_aligned(self) -> bool:
        return not self._line and not self._skips

    @property
    def is_mid_event(self) -> bool:
        return self._skips

    def receive_data(self, payload: bytes) -> bytes:
        data = self._line + payload
        begin = len(self._line) if self._skips else 0
        lines = data.split(b"\n")
        rest = lines.pop()
        end = len(data) - len(rest)
        for line in lines:
            self._look(line)
        if self._skips or len(rest) > MAX_HELD_BYTES:
            self._skips = True
            rest, end = rest[-TAIL_BYTES:], len(data)
        self._line = rest
        return data[begin:end]

    def finish(self) -> bytes:
        line, self._line = self._line, b""
        held = b"" if self._skips else line
        if line:
            self._look(line)
        return held

    def receive_whole(self, payload: bytes) -> None:
        self.receive_data(payload)
        self.finish()

    def skip(self, rest: int) -> int:
        return 0

    def ping(self) -> bytes:
        return b""

    def _look(self, line: bytes) -> None:
        if self._skips:
            self._skips = False
            if found := _find_counts(line, b"prompt_eval_count", b"eval_count"):
                self.usage = found
                return
        elif self.marker in line:
            try:
                last = _ollama_answer.decode(line)
            except UNREADABLE:
                last = _OllamaAnswer()
            if last.done:
                self.usage = Usage(last.prompt_eval_count, last.eval_count)
                return
        if line.strip() and not line.startswith(_ERROR):
            self.events += 1


class JsonTap:
    """A JSON document. It looks at the document, or its end, when it is complete."""

    __slots__ = ("_dialect", "_pieces", "_size", "events", "usage")
    cuts = False
    marker = b""
    tail = b""
    is_aligned = False
    is_mid_event = False

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._pieces: list[bytes] = []
        self._size = 0
        self.usage: Usage | None = None
        self.events = 0

    def receive_data(self, payload: bytes) -> bytes:
        self._pieces.append(payload)
        self._size += len(payload)
        if self._size > MAX_DOCUMENT_BYTES and len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)[-TAIL_BYTES:]]
        return payload

    def finish(self) -> bytes:
        document = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        self.usage = read_usage(document, self._dialect, is_whole=self._size <= MAX_DOCUMENT_BYTES)
        return b""

    def receive_whole(self, payload: bytes) -> None:
        self.usage = read_whole(payload, self._dialect)

    def skip(self, rest: int) -> int:
        """All but the end, of a document that is too long to be read whole."""
        if self._size + rest <= MAX_DOCUMENT_BYTES or rest <= TAIL_BYTES:
            return 0
        self._pieces = []
        self._size += rest - TAIL_BYTES
        return rest - TAIL_BYTES

    def ping(self) -> bytes:
        return b""


def read_whole(document: bytes, dialect: str) -> Usage | None:
    """The usage in a JSON answer of any size."""
    if len(document) <= MAX_DOCUMENT_BYTES:
        return read_usage(document, dialect, is_whole=True)
    return read_usage(document[-TAIL_BYTES:], dialect, is_whole=False)


def read_usage(document: bytes, dialect: str, *, is_whole: bool) -> Usage | None:
    """The usage in a JSON answer, or in the end of one; None when there is none to be found."""
    try:
        if dialect == "ollama":
            if not is_whole:
                return _find_counts(document, b"prompt_eval_count", b"eval_count")
            counts = _ollama_answer.decode(document)
            if counts.prompt_eval_count is None and counts.eval_count is None:
                return None
            return Usage(counts.prompt_eval_count, counts.eval_count)
        if not is_whole:
            place = document.rfind(b'"usage"')
            end = document[place:] if place >= 0 else b""
            return _find_counts(end, b"prompt_tokens", b"completion_tokens") or _find_counts(
                end, b"input_tokens", b"output_tokens"
            )
        found = _openai_document.decode(document).usage
    except UNREADABLE:
        return None
    return _read_counts(found) if found is not None else None


def _read_counts(usage: _OpenAIUsage) -> Usage | None:
    """By either pair of names; None if there is no count (of a transcription, some say its duration instead)."""
    if usage.prompt_tokens is not None or usage.completion_tokens is not None:
        return Usage(usage.prompt_tokens, usage.completion_tokens)
    if usage.input_tokens is not None or usage.output_tokens is not None:
        return Usage(usage.input_tokens, usage.output_tokens)
    return None


def _find_counts(text: bytes, prompt_name: bytes, completion_name: bytes) -> Usage | None:
    """Both counts by name, in a piece of JSON that cannot be parsed."""
    prompt, completion = search_count(text, prompt_name), search_count(text, completion_name)
    return Usage(prompt, completion) if prompt is not None or completion is not None else None


def search_count(text: bytes, name: bytes, begin: int = 0) -> int | None:
    """A count by its name, behind `begin`. Quotes in strings are escaped, so that a name in its own quotes is a key."""
    found = re.compile(rb'"%b"\s*:\s*(\d{1,15})(?!\d)' % name).search(text, begin)
    return int(found[1]) if found is not None else None
