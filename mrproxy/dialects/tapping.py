"""Pure. The tap of the translating lane: an engine's bytes in, the caller's bytes out.

It stands where the straight lane's taps stand (`usage.py`), so the relay needs no second way to move bytes: what is
forwarded is what `receive_data` returns. A document comes out at the end, whole, with its length known; a stream as it
arrives, one write for one read, up to what says that it ends: then `finish` is called, whether or not the body goes on.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from mrproxy.canonical.capture import Body
from mrproxy.canonical.deltas import (
    Delta,
    End,
    Failure,
    Finish,
    Report,
    TextDelta,
    ThinkingDelta,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.canonical.exchange import Usage
from mrproxy.dialects.codec import AnswerDecoder, AnswerEncoder

_NOTHING_REPORTED = TokenReport()
_GENERATED = (TextDelta, ThinkingDelta, ToolCallBegin, ToolCallArguments)


class Check(Protocol):
    """Structured output, looked at as it passes: `dialects/schema.py`."""

    def receive_text(self, text: str) -> None: ...
    def finish(self) -> str | None: ...


class TranslatingTap:
    """`failure` is why the answer cannot go on, in words; empty while it can. `has_ended`: the engine has said that
    this is all. `is_document`: it says all at its end. `tells_durations`: the caller's dialect has them (Ollama's);
    what the engine does not say is measured here.
    """

    __slots__ = (
        "_check", "_decoder", "_encoder", "_first_ns", "_held", "_tells_durations", "_tokens", "_total_ns", "events",
        "failure", "finished", "has_ended", "is_document", "is_output_wrong", "kept", "usage",
    )  # fmt: skip
    cuts = True
    marker = b""
    tail = b""
    is_aligned = False
    is_mid_event = False

    def __init__(
        self,
        decoder: AnswerDecoder,
        encoder: AnswerEncoder,
        *,
        is_document: bool,
        check: Check | None = None,
        tells_durations: bool = False,
    ) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self._check = check
        self._held: list[Delta] = []  # from where the answer says that it is done, until it is checked
        self._tells_durations = tells_durations
        self.kept: Body | None = None  # while bodies are captured: what the caller gets
        self.finished: Callable[[], None] | None = None  # the answer is whole; its end is told after this returns
        self.is_document = is_document
        self.has_ended = False
        self.usage: Usage | None = None
        self.events = 0
        self.failure = ""
        self.is_output_wrong = False  # it is the model that failed, not the backend
        self._tokens = _NOTHING_REPORTED
        self._total_ns = self._first_ns = 0

    @property
    def content_type(self) -> bytes:
        return self._encoder.content_type

    def receive_data(self, payload: bytes) -> bytes:
        return self._pass_on(self._decoder.receive_data(payload))

    def measured(self, total_seconds: float, first_seconds: float) -> None:
        """How long the answer took, and how long until it began: for engines that do not say. Before `finish`."""
        self._total_ns, self._first_ns = int(total_seconds * 1e9), int(first_seconds * 1e9)

    def finish(self) -> bytes:
        out = self._pass_on(self._decoder.finish())
        if self._tells_durations and not self.failure and self._tokens.total_ns is None:
            out += self._pass_on([Report(self._with_durations())])
        if self.failure:
            return out
        if self._check is not None and (reason := self._check.finish()):
            self.failure = f"the model's output is not what was asked for: {reason}"
            self.is_output_wrong = True
            return out
        if self._held:
            out += self._keep(self._encoder.send(self._held))
        out += self._keep(self._encoder.finish())
        if self.finished is not None:
            self.finished()
        return out

    def receive_whole(self, payload: bytes) -> None:
        """Never: a tap that cuts gets its answer in pieces."""
        self.receive_data(payload)

    def skip(self, rest: int) -> int:
        return 0

    def ping(self) -> bytes:
        return self._encoder.ping()

    def _with_durations(self) -> TokenReport:
        return msgspec.structs.replace(
            self._tokens,
            total_ns=self._total_ns,
            prompt_ns=self._first_ns,
            completion_ns=max(0, self._total_ns - self._first_ns),
        )

    def _pass_on(self, deltas: list[Delta]) -> bytes:
        if not deltas or self.failure:
            return b""
        for delta in deltas:
            if isinstance(delta, _GENERATED):
                self.events += 1
                if self._check is not None and type(delta) is TextDelta and not delta.choice:
                    self._check.receive_text(delta.text)
            elif isinstance(delta, Report):
                self._tokens = tokens = delta.tokens
                if tokens.prompt_tokens is not None or tokens.completion_tokens is not None:
                    self.usage = Usage(tokens.prompt_tokens, tokens.completion_tokens)
            elif isinstance(delta, Failure):
                self.failure = delta.message or "the engine reported an error"  # some have no words for it
                deltas = deltas[: deltas.index(delta)]
                break
            elif isinstance(delta, End):
                self.has_ended = True
        if self._check is not None:
            deltas = self._until_done(deltas)
        return self._keep(self._encoder.send(deltas))

    def _until_done(self, deltas: list[Delta]) -> list[Delta]:
        """Who reads that the answer has ended well reads no further: that is said when it is known."""
        done = (at for at, delta in enumerate(deltas) if type(delta) is Finish and not delta.choice)
        end = 0 if self._held else next(done, len(deltas))
        self._held += deltas[end:]
        return deltas[:end]

    def _keep(self, out: bytes) -> bytes:
        if self.kept is not None:
            self.kept.receive_data(out)
        return out
