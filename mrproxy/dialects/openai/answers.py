"""Pure. Answers to chats: an engine's stream or document → deltas → a caller's stream or document.

Thinking is read as `reasoning_content` (vLLM, llama.cpp, DeepSeek) or `reasoning` (vLLM since 2026, Ollama's /v1), and
written as `reasoning_content`. A stop that follows tool calls is TOOL_CALLS: engines say "stop" when the caller named
the function. What OpenAI has no word for is left out: signatures, redacted thinking, Ollama's durations.
An encoder words no errors: a Failure is `Dialect.encode_stream_error`'s.
Sources: OpenAI API reference, "Chat completion chunk object" (2026); vLLM chat_completion/protocol.py (2026).
"""

from collections.abc import Sequence

import msgspec

from mrproxy.canonical.deltas import (
    Begin,
    Delta,
    Finish,
    Logprobs,
    RefusalDelta,
    Report,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.codec import AnswerContext
from mrproxy.dialects.openai.calls import Calls, Fragment, Function, call_prefix
from mrproxy.dialects.openai.chunks import ChunkWriter, DocumentWriter, encode, write_finish, write_head
from mrproxy.dialects.openai.logprobs import join_logprobs
from mrproxy.dialects.openai.streams import BrokenAnswer, Choice, ChoiceChunks, Chunk, Document, EventStream
from mrproxy.dialects.sse import MAX_HELD_BYTES
from mrproxy.dialects.usage import PING_COMMENT


class _Said(msgspec.Struct, gc=False):
    """A stream's delta, or a document's message."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Fragment] | None = None
    function_call: Function | None = None


class _Choice(Choice, gc=False):
    """A document has messages for deltas."""

    delta: _Said | None = None
    message: _Said | None = None


_decode_chunk = msgspec.json.Decoder(Chunk[_Choice]).decode


class _Chunks(ChoiceChunks[_Choice]):
    __slots__ = ("_calls", "_prefix")

    def __init__(self, request_id: str) -> None:
        self._prefix = call_prefix(request_id)
        self._calls: dict[int, Calls] = {}
        super().__init__(_decode_chunk, self._calls)

    def read_text(self, choice: _Choice, deltas: list[Delta]) -> None:
        index = choice.index
        said = choice.delta or choice.message
        if said is not None:
            if thought := said.reasoning_content or said.reasoning:
                deltas.append(ThinkingDelta(thought, index))
            if said.content:
                deltas.append(TextDelta(said.content, index))
            if said.refusal:
                deltas.append(RefusalDelta(said.refusal, index))
            if said.tool_calls or said.function_call:
                self._read_calls(said, index, choice.message is not None, deltas)

    def _read_calls(self, said: _Said, index: int, is_whole: bool, deltas: list[Delta]) -> None:
        calls = self._calls.get(index)
        if calls is None:
            calls = self._calls[index] = Calls(self._prefix, index)
        fragments = said.tool_calls or [Fragment(function=said.function_call)]
        for fragment in fragments:
            deltas.extend(calls.receive_whole(fragment) if is_whole else calls.receive(fragment))
        if calls.held_bytes > MAX_HELD_BYTES:
            raise BrokenAnswer("the engine's tool calls are too long")


class ChatStreamDecoder(EventStream):
    """`chat.completion.chunk` events up to `[DONE]`."""

    __slots__ = ()

    def __init__(self, request_id: str) -> None:
        super().__init__(_Chunks(request_id))


class ChatDocumentDecoder(Document):
    """One `chat.completion`."""

    __slots__ = ()

    def __init__(self, request_id: str) -> None:
        super().__init__(_Chunks(request_id))


class ChatStreamEncoder:
    """The first chunk of each choice carries its role. Usage goes last, and only to callers who asked for it."""

    content_type = b"text/event-stream"

    def __init__(self, context: AnswerContext) -> None:
        head = write_head(context, "chatcmpl", "chat.completion.chunk")
        self._writer = ChunkWriter(context, head, b"delta", b'{"role":"assistant","content":""}')

    def send(self, deltas: Sequence[Delta]) -> bytes:
        out: list[bytes] = []
        write = self._writer.write
        for number, delta in enumerate(deltas):
            match delta:
                case TextDelta():
                    following = deltas[number + 1] if number + 1 < len(deltas) else None
                    said = b'{"content":%b}' % encode(delta.text)
                    if isinstance(following, Logprobs) and following.choice == delta.choice:
                        write(out, delta.choice, said, bytes(following.content))
                    else:
                        write(out, delta.choice, said)
                case ThinkingDelta():
                    write(out, delta.choice, b'{"reasoning_content":%b}' % encode(delta.text))
                case ToolCallArguments():
                    write(out, delta.choice, _arguments(delta))
                case ToolCallBegin():
                    write(out, delta.choice, _call(delta))
                case Logprobs():
                    before = deltas[number - 1] if number else None
                    if not (isinstance(before, TextDelta) and before.choice == delta.choice):
                        write(out, delta.choice, b"{}", bytes(delta.content))
                case RefusalDelta():
                    write(out, delta.choice, b'{"refusal":%b}' % encode(delta.text))
                case Finish():
                    write(out, delta.choice, b"{}", finish=delta)
                case Begin():
                    self._writer.begin(out, 0)
                case Report():
                    self._writer.tokens = delta.tokens
                case _:
                    pass  # see the module's docstring
        return b"".join(out)

    def finish(self) -> bytes:
        return self._writer.finish()

    def ping(self) -> bytes:
        return PING_COMMENT


def _call(delta: ToolCallBegin) -> bytes:
    return b'{"tool_calls":[{"index":%d,"id":%b,"type":"function","function":{"name":%b,"arguments":""}}]}' % (
        delta.call,
        encode(delta.id),
        encode(delta.name),
    )


def _arguments(delta: ToolCallArguments) -> bytes:
    return b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (delta.call, encode(delta.fragment))


class _Message:
    """One choice of a document, as it grows."""

    __slots__ = ("calls", "finish", "logprobs", "refusal", "text", "thinking")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.thinking: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, tuple[ToolCallBegin, list[str]]] = {}
        self.logprobs: list[msgspec.Raw] = []
        self.finish: Finish | None = None

    def write(self, index: int) -> dict[str, object]:
        message: dict[str, object] = {
            "role": "assistant",
            "content": "".join(self.text) if self.text or not (self.calls or self.refusal) else None,
            "refusal": "".join(self.refusal) if self.refusal else None,
        }
        if self.thinking:
            message["reasoning_content"] = "".join(self.thinking)
        if self.calls:
            message["tool_calls"] = [
                {"id": begin.id, "type": "function", "function": {"name": begin.name, "arguments": "".join(pieces)}}
                for begin, pieces in self.calls.values()
            ]
        return {
            "index": index,
            "message": message,
            "logprobs": join_logprobs(self.logprobs),
            **write_finish(self.finish),
        }


class ChatDocumentEncoder:
    """One `chat.completion`, at the end."""

    content_type = b"application/json"

    def __init__(self, context: AnswerContext) -> None:
        self._writer = DocumentWriter(write_head(context, "chatcmpl", "chat.completion"), _Message)

    def send(self, deltas: Sequence[Delta]) -> bytes:
        message = self._writer.choice
        for delta in deltas:
            match delta:
                case TextDelta():
                    message(delta.choice).text.append(delta.text)
                case ThinkingDelta():
                    message(delta.choice).thinking.append(delta.text)
                case RefusalDelta():
                    message(delta.choice).refusal.append(delta.text)
                case ToolCallBegin():
                    message(delta.choice).calls[delta.call] = (delta, [])
                case ToolCallArguments():
                    message(delta.choice).calls[delta.call][1].append(delta.fragment)
                case Logprobs():
                    message(delta.choice).logprobs.append(delta.content)
                case Finish():
                    message(delta.choice).finish = delta
                case Report():
                    self._writer.tokens = delta.tokens
                case _:
                    pass  # see the module's docstring
        return b""

    def finish(self) -> bytes:
        return self._writer.finish()

    def ping(self) -> bytes:
        return b""
