"""Pure. Completions of text: requests and answers, each way.

A completion has no place for thinking, refusals and tool calls: what a chat's engine says of these is left out.
What each field becomes: docs/dialects/openai.md.
Sources, all 2026: OpenAI API reference, "Create completion"; vLLM completion/protocol.py; llama.cpp server-common.cpp.
"""

from collections.abc import Sequence

import msgspec

from mrproxy.canonical.conversation import FormatKind, ResponseFormat, TextRequest
from mrproxy.canonical.deltas import Delta, Finish, FinishReason, Logprobs, Report, TextDelta
from mrproxy.dialects.codec import AnswerContext, Encoded, Target
from mrproxy.dialects.openai.chunks import ChunkWriter, DocumentWriter, encode, write_finish, write_head
from mrproxy.dialects.openai.engines import Engine, engine_of
from mrproxy.dialects.openai.fields import decode, ignore, invalid, left_over, members, missing, pass_on
from mrproxy.dialects.openai.formats import Format, read_format, write_format
from mrproxy.dialects.openai.logprobs import as_completion, join_logprobs
from mrproxy.dialects.openai.requests import StreamOptions, stream_warnings
from mrproxy.dialects.openai.sampling import Sampled, read_sampling, write_engine_wishes, write_sampling
from mrproxy.dialects.openai.streams import Choice, ChoiceChunks, Chunk, Document, EventStream
from mrproxy.dialects.usage import PING_COMMENT

_ANY_OBJECT = msgspec.Raw(b'{"type":"object"}')


class _Text(Sampled):
    model: str = ""
    prompt: str | list[str | int | list[int]] | None = None
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | None = None
    response_format: Format | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None


_text = msgspec.json.Decoder(_Text)
_KNOWN = frozenset(_Text.__struct_fields__)


def decode_text(body: bytes) -> TextRequest:
    """Raises ClientError with the field as its param."""
    asked = decode(_text, body)
    if not asked.model:
        raise missing("model")
    fields = members(body)
    options = asked.stream_options
    wants_logprobs = True if asked.logprobs is not None else None
    return TextRequest(
        model=asked.model,
        prompts=read_inputs(asked.prompt, "prompt"),
        raw=True,
        suffix=asked.suffix or None,
        echo=asked.echo,
        best_of=asked.best_of,
        sampling=read_sampling(asked, None, wants_logprobs, asked.logprobs),
        response_format=read_format(asked.response_format),
        streams=asked.stream is True,
        include_usage=options is not None and options.include_usage is True,
        user=asked.user,
        extras=left_over(fields, _KNOWN),
        warnings=tuple(stream_warnings(fields)),
    )


def read_inputs(given: str | list[str | int | list[int]] | None, param: str) -> tuple[str | tuple[int, ...], ...]:
    """A text, texts, token ids or lists of token ids. Raises ClientError."""
    if given is None:
        raise missing(param)
    if isinstance(given, str):
        return (given,)
    texts = tuple(one for one in given if isinstance(one, str))
    tokens = tuple(one for one in given if isinstance(one, int))
    lists = tuple(tuple(one) for one in given if isinstance(one, list))
    if not given or len(given) not in (len(texts), len(tokens), len(lists)):
        raise invalid(param, f"{param} must be text, texts, token ids or lists of token ids")
    return texts or lists or (tokens,)


def encode_text(request: TextRequest, target: Target) -> Encoded:
    """Raises ClientError for what cannot be said to this engine without changing its meaning."""
    engine = engine_of(target.kind)
    _refuse_what_no_completion_has(request, engine)
    warnings: list[str] = []
    prompts = request.prompts
    body: dict[str, object] = {"model": target.model, "prompt": prompts[0] if len(prompts) == 1 else prompts}
    if request.suffix:
        body["suffix"] = request.suffix
    if request.echo is not None:
        body["echo"] = request.echo
    if request.best_of is not None and engine.has_best_of:
        body["best_of"] = request.best_of
    elif request.best_of is not None:
        ignore(["best_of"], engine.label, warnings)
    sampling = request.sampling
    write_sampling(sampling, engine, "max_tokens", body, warnings)
    if sampling.logprobs:
        body["logprobs"] = sampling.top_logprobs or 0
    if request.response_format is not None:
        _write_format(request.response_format, engine, body)
    if request.thinking is not None:
        warnings.append("thinking is ignored: a completion is continued as it is")
    if request.streams:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}  # the caller's own wish is the answer encoder's business
    if request.user is not None:
        body["user"] = request.user
    write_engine_wishes(request.context_length, request.keep_alive, request.engine_options, engine, body, warnings)
    pass_on(request.extras, body, engine.label, warnings)
    return Encoded(msgspec.json.encode(body), tuple(warnings))


def _refuse_what_no_completion_has(request: TextRequest, engine: Engine) -> None:
    refused = {
        "raw": not request.raw,
        "system": request.system,
        "template": request.template,
        "context": request.context,
        "images": request.images,
        "suffix": request.suffix and not engine.has_suffix,
        "echo": request.echo and not engine.has_echo,
    }
    for name, is_refused in refused.items():
        if is_refused:
            raise invalid(name, f"{engine.label} has no completions with {name}")


def _write_format(wanted: ResponseFormat, engine: Engine, body: dict[str, object]) -> None:
    if wanted.kind is FormatKind.TEXT:
        return
    if engine.text_format is None:
        raise invalid("response_format", f"{engine.label} formats chats only")
    if engine.text_format == "response_format":
        body["response_format"] = write_format(wanted)
    else:
        body[engine.text_format] = wanted.schema if wanted.kind is FormatKind.JSON_SCHEMA else _ANY_OBJECT


# Answers


class _Choice(Choice, gc=False):
    text: str | None = None


_decode_chunk = msgspec.json.Decoder(Chunk[_Choice]).decode


class _Chunks(ChoiceChunks[_Choice]):
    """A stream's chunk and a document have one shape."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_decode_chunk)

    def read_text(self, choice: _Choice, deltas: list[Delta]) -> None:
        if choice.text:
            deltas.append(TextDelta(choice.text, choice.index))


class TextStreamDecoder(EventStream):
    """`text_completion` events up to `[DONE]`. No ids have to be made."""

    __slots__ = ()

    def __init__(self, request_id: str) -> None:
        super().__init__(_Chunks())


class TextDocumentDecoder(Document):
    """One `text_completion`."""

    __slots__ = ()

    def __init__(self, request_id: str) -> None:
        super().__init__(_Chunks())


def _plain(finish: Finish) -> Finish:
    """A completion knows no tool calls."""
    if finish.reason is FinishReason.TOOL_CALLS:
        return Finish(FinishReason.STOP, finish.choice)
    return finish


class TextStreamEncoder:
    """Usage goes last, and only to callers who asked for it. `_lengths`: characters of each choice's text so far, and
    before its last delta, which is what logprobs belong to."""

    content_type = b"text/event-stream"

    def __init__(self, context: AnswerContext) -> None:
        self._writer = ChunkWriter(context, write_head(context, "cmpl", "text_completion"), b"text", b"")
        self._lengths: dict[int, tuple[int, int]] = {}

    def send(self, deltas: Sequence[Delta]) -> bytes:
        out: list[bytes] = []
        for number, delta in enumerate(deltas):
            match delta:
                case TextDelta():
                    self._send_text(out, delta, deltas[number + 1] if number + 1 < len(deltas) else None)
                case Logprobs():
                    before = deltas[number - 1] if number else None
                    if not (isinstance(before, TextDelta) and before.choice == delta.choice):
                        self._writer.write(out, delta.choice, b'""', self._logprobs(delta))
                case Finish():
                    self._writer.write(out, delta.choice, b'""', finish=_plain(delta))
                case Report():
                    self._writer.tokens = delta.tokens
                case _:
                    pass  # see the module's docstring
        return b"".join(out)

    def _send_text(self, out: list[bytes], delta: TextDelta, following: Delta | None) -> None:
        _, end = self._lengths.get(delta.choice, (0, 0))
        self._lengths[delta.choice] = (end, end + len(delta.text))
        is_followed = isinstance(following, Logprobs) and following.choice == delta.choice
        logprobs = self._logprobs(following) if is_followed and isinstance(following, Logprobs) else b""
        self._writer.write(out, delta.choice, encode(delta.text), logprobs)

    def _logprobs(self, delta: Logprobs) -> bytes:
        return bytes(as_completion(delta.content, self._lengths.get(delta.choice, (0, 0))[0]))

    def finish(self) -> bytes:
        return self._writer.finish()

    def ping(self) -> bytes:
        return PING_COMMENT


class _Completion:
    """One choice of a document, as it grows."""

    __slots__ = ("finish", "length", "logprobs", "start", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.start = self.length = 0
        self.logprobs: list[msgspec.Raw] = []
        self.finish: Finish | None = None

    def receive(self, delta: TextDelta) -> None:
        self.text.append(delta.text)
        self.start = self.length
        self.length += len(delta.text)

    def write(self, index: int) -> dict[str, object]:
        return {
            "index": index,
            "text": "".join(self.text),
            "logprobs": join_logprobs(self.logprobs),
            **write_finish(self.finish),
        }


class TextDocumentEncoder:
    """One `text_completion`, at the end."""

    content_type = b"application/json"

    def __init__(self, context: AnswerContext) -> None:
        self._writer = DocumentWriter(write_head(context, "cmpl", "text_completion"), _Completion)

    def send(self, deltas: Sequence[Delta]) -> bytes:
        for delta in deltas:
            match delta:
                case TextDelta():
                    self._writer.choice(delta.choice).receive(delta)
                case Logprobs():
                    choice = self._writer.choice(delta.choice)
                    choice.logprobs.append(as_completion(delta.content, choice.start))
                case Finish():
                    self._writer.choice(delta.choice).finish = _plain(delta)
                case Report():
                    self._writer.tokens = delta.tokens
                case _:
                    pass  # see the module's docstring
        return b""

    def finish(self) -> bytes:
        return self._writer.finish()

    def ping(self) -> bytes:
        return b""
