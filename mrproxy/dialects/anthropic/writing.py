"""Pure. Deltas → an answer in Anthropic's dialect: a stream of events, or one message.

Blocks of a stream open and close one after the other and none is resumed. Engines may interleave parallel calls; so
what follows an unfinished call waits until its arguments are a whole JSON object, or the answer has ended.
`message_start` comes with the first delta, before engines say how long the prompt was: `message_delta` says it, and
SDKs take the later count. Failures are worded by the dialect (`encode_stream_error`), not here.
Source: Anthropic API reference, "Streaming messages" (2026); anthropic-sdk-python 2.11, lib/streaming/_messages.py.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from mrproxy.canonical.deltas import (
    Delta,
    Finish,
    FinishReason,
    RedactedThinkingDelta,
    RefusalDelta,
    Report,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.anthropic.counts import counts_of
from mrproxy.dialects.anthropic.turns import read_arguments
from mrproxy.dialects.codec import AnswerContext

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
_END = b"}}\n\n"
# What a block begins with, and the type and member of its deltas.
_KINDS: dict[str, tuple[dict[str, Any], bytes, bytes]] = {
    "text": ({"type": "text", "text": ""}, b"text_delta", b"text"),
    "thinking": ({"type": "thinking", "thinking": "", "signature": ""}, b"thinking_delta", b"thinking"),
    "tool_use": ({"type": "tool_use"}, b"input_json_delta", b"partial_json"),
}
_REASONS = {
    FinishReason.STOP: "end_turn",
    FinishReason.STOP_SEQUENCE: "stop_sequence",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.REFUSAL: "refusal",
    FinishReason.PAUSE: "pause_turn",
    FinishReason.LOAD: "end_turn",
    FinishReason.UNLOAD: "end_turn",
}
_encode = msgspec.json.Encoder().encode


class _Block:
    """One content block. `said`: its text, thinking or arguments, as far as it is still needed."""

    __slots__ = ("call_id", "head", "kind", "name", "said", "signature")

    def __init__(self, kind: str, call_id: str = "", name: str = "") -> None:
        self.kind = kind
        self.call_id = call_id
        self.name = name
        self.said: list[str] = []
        self.signature = ""
        self.head = b""

    @property
    def text(self) -> str:
        return "".join(self.said)

    def is_whole(self) -> bool:
        """Whether another block may follow."""
        return self.kind != "tool_use" or (bool(self.said) and not isinstance(read_arguments(self.text), dict))

    def start(self) -> dict[str, Any]:
        if self.kind == "redacted_thinking":
            return {"type": self.kind, "data": self.text}
        begun = _KINDS[self.kind][0]
        return begun | {"id": self.call_id, "name": self.name, "input": {}} if self.kind == "tool_use" else begun

    def whole(self) -> dict[str, Any]:
        match self.kind:
            case "text":
                return {"type": "text", "text": self.text}
            case "thinking":
                return {"type": "thinking", "thinking": self.text, "signature": self.signature}
            case "tool_use":
                arguments = read_arguments(self.text)
                return {"type": "tool_use", "id": self.call_id, "name": self.name, "input": arguments}
            case _:
                return self.start()


class _Ending:
    """How the answer ended, and what it used."""

    __slots__ = ("finish", "has_calls", "has_refused", "tokens")

    def __init__(self) -> None:
        self.finish: Finish | None = None
        self.tokens = TokenReport()
        self.has_calls = False
        self.has_refused = False

    def fields(self) -> dict[str, Any]:
        """Engines that say "stop" after a call mean the call, and so do callers' tool loops."""
        finish = self.finish or Finish(FinishReason.STOP)
        reason = _REASONS[finish.reason]
        if reason == "end_turn":
            reason = "tool_use" if self.has_calls else "refusal" if self.has_refused else reason
        return {"stop_reason": reason, "stop_sequence": finish.stop_sequence if reason == "stop_sequence" else None}


class _Writer:
    """What streams and documents share: which delta belongs to which block. Only the first choice is told."""

    __slots__ = ("_calls", "_context", "_ending", "_id", "_last")

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._id = f"msg_{context.request_id.replace('-', '')}"
        self._ending = _Ending()
        self._calls: dict[int, _Block] = {}
        self._last: _Block | None = None

    def _take(self, delta: Delta) -> None:
        match delta:
            case TextDelta(choice=0) | RefusalDelta(choice=0):
                self._say("text", delta.text)
                self._ending.has_refused |= isinstance(delta, RefusalDelta)
            case ThinkingDelta(choice=0):
                self._say("thinking", delta.text)
            case ThinkingSignature(choice=0):
                self._sign(self._of_kind("thinking"), delta.signature)
            case RedactedThinkingDelta(choice=0):
                block = _Block("redacted_thinking")
                block.said.append(delta.data)
                self._add(block)
            case ToolCallBegin(choice=0):
                self._ending.has_calls = True
                self._calls[delta.call] = block = _Block("tool_use", delta.id, delta.name)
                self._add(block)
            case ToolCallArguments(choice=0) if delta.fragment and delta.call in self._calls:
                self._put(self._calls[delta.call], delta.fragment)
            case Finish(choice=0):
                self._ending.finish = delta
            case Report():
                self._ending.tokens = delta.tokens
            case _:
                pass  # Begin, End, Failure; Logprobs and Context: Anthropic's answers have none

    def _say(self, kind: str, text: str) -> None:
        if text:
            self._put(self._of_kind(kind), text)

    def _of_kind(self, kind: str) -> _Block:
        """The last block if it goes on, else a new one."""
        block = self._last
        if block is None or block.kind != kind or block.signature:
            block = _Block(kind)
            self._add(block)
        return block

    def _add(self, block: _Block) -> None:
        self._last = block

    def _put(self, block: _Block, text: str) -> None:
        block.said.append(text)

    def _sign(self, block: _Block, signature: str) -> None:
        block.signature = signature

    def _message(self, content: list[dict[str, Any]], ending: dict[str, Any]) -> dict[str, Any]:
        head = {"id": self._id, "type": "message", "role": "assistant", "model": self._context.model}
        return head | {"content": content} | ending | {"usage": counts_of(self._ending.tokens)}


class ChatStreamEncoder(_Writer):
    """Server-sent events."""

    __slots__ = ("_has_begun", "_index", "_open", "_out", "_waiting")
    content_type = b"text/event-stream"

    def __init__(self, context: AnswerContext) -> None:
        super().__init__(context)
        self._out: list[bytes] = []
        self._has_begun = False
        self._index = -1
        self._open: _Block | None = None
        self._waiting: list[_Block] = []

    def send(self, deltas: Sequence[Delta]) -> bytes:
        out = self._out
        for delta in deltas:
            block = self._open
            if type(delta) is TextDelta and block is self._last and block is not None and block.kind == "text":
                if delta.text and not delta.choice:  # nearly every delta there is
                    out.append(block.head + _encode(delta.text) + _END)
                continue
            self._take(delta)
        if not self._has_begun and deltas:
            self._begin()
        return self._flush()

    def finish(self) -> bytes:
        if not self._has_begun:
            self._begin()
        self._advance(is_over=True)
        self._close()
        ending = self._ending
        self._event(
            "message_delta",
            {"type": "message_delta", "delta": ending.fields(), "usage": counts_of(ending.tokens)},
        )
        self._out.append(_MESSAGE_STOP)
        return self._flush()

    def ping(self) -> bytes:
        return PING

    def _flush(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return data

    def _event(self, name: str, data: dict[str, Any]) -> None:
        self._out.append(b"event: %b\ndata: %b\n\n" % (name.encode(), _encode(data)))

    def _begin(self) -> None:
        """Before whatever came with it, its counts known or not."""
        self._has_begun = True
        rest, self._out = self._out, []
        message = self._message([], {"stop_reason": None, "stop_sequence": None})
        self._event("message_start", {"type": "message_start", "message": message})
        self._out += rest

    def _add(self, block: _Block) -> None:
        super()._add(block)
        self._waiting.append(block)
        self._advance()

    def _put(self, block: _Block, text: str) -> None:
        if block is not self._open:
            if block in self._waiting:  # else it was complete: what follows its arguments is none of them
                super()._put(block, text)
            return
        self._out.append(block.head + _encode(text) + _END)
        if block.kind == "tool_use":
            super()._put(block, text)
            if self._waiting and text.rstrip().endswith("}"):
                self._advance()

    def _sign(self, block: _Block, signature: str) -> None:
        super()._sign(block, signature)
        if block is self._open:
            self._write_signature(block)

    def _write_signature(self, block: _Block) -> None:
        head = _DELTA % (self._index, b"signature_delta", b"signature")
        self._out.append(head + _encode(block.signature) + _END)

    def _advance(self, *, is_over: bool = False) -> None:
        """Open what waits, as far as what is open has ended."""
        while self._waiting and (self._open is None or is_over or self._open.is_whole()):
            self._close()
            self._open_next(self._waiting.pop(0))

    def _open_next(self, block: _Block) -> None:
        self._open = block
        self._index += 1
        self._event(
            "content_block_start",
            {"type": "content_block_start", "index": self._index, "content_block": block.start()},
        )
        if block.kind == "redacted_thinking":
            return
        _, kind, member = _KINDS[block.kind]
        block.head = _DELTA % (self._index, kind, member)
        if block.said:
            self._out.append(block.head + _encode(block.text) + _END)
        if block.signature:
            self._write_signature(block)

    def _close(self) -> None:
        if self._open is not None:
            self._event("content_block_stop", {"type": "content_block_stop", "index": self._index})
            self._open = None


class ChatDocumentEncoder(_Writer):
    """One JSON object."""

    __slots__ = ("_blocks",)
    content_type = b"application/json"

    def __init__(self, context: AnswerContext) -> None:
        super().__init__(context)
        self._blocks: list[_Block] = []

    def send(self, deltas: Sequence[Delta]) -> bytes:
        for delta in deltas:
            self._take(delta)
        return b""

    def finish(self) -> bytes:
        return _encode(self._message([block.whole() for block in self._blocks], self._ending.fields()))

    def ping(self) -> bytes:
        return b""

    def _add(self, block: _Block) -> None:
        super()._add(block)
        self._blocks.append(block)
