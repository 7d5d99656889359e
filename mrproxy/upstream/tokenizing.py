"""Pure. What to ask an engine to learn how long a prompt was that it was sent, and how to read what it says.

    vllm       `/v1/chat/completions/render`, `/v1/completions/render`: the request itself; older ones: `/tokenize`
    llamacpp   `/v1/…/input_tokens`: the request itself; older ones: `/apply-template`, then `/tokenize`
    messages   `/v1/messages/count_tokens`, of every engine but Ollama, which has none
    ollama     no tokenizer at all: only `ask_again`, the same request once more, for one token
A question is asked by the shell, which hands the answer to `read` and gets the count, the next question, or None: it
cannot be known. An answer that is not understood is never guessed at. Nothing here raises.

Sources, main of 2026-11: vllm-project/vllm entrypoints/serve/{render,tokenize}/{api_router,protocol,serving}.py,
ggml-org/llama.cpp tools/server/{README.md,server-context.cpp}, Anthropic API reference "Count tokens in a message".
Read next: `tokenizer.py`, the shell around this.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec import Raw

from mrproxy.dialects.taps import read_document_usage
from mrproxy.dialects.unreadable import UNREADABLE
from mrproxy.dialects.usage import Count

# A million tokens of text. Longer ones are mostly pictures, and reading them once more takes 1 ms per MiB of everybody.
MAX_BODY_BYTES = 4 << 20


class Sent(NamedTuple):
    """What an engine of this kind got. `path` is below the backend's prefix."""

    kind: str
    path: str
    body: bytes


class Question(NamedTuple):
    """A POST. `read` takes the status and the body of its answer."""

    path: str
    body: bytes
    read: "Callable[[int, bytes], Reading]"


Reading: TypeAlias = int | Question | None
_Fields: TypeAlias = dict[str, Raw]

_CHAT, _TEXT, _RESPONSES, _MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
_DIALECTS = {
    _CHAT: "openai",
    _TEXT: "openai",
    _RESPONSES: "responses",
    _MESSAGES: "anthropic",
    "/api/chat": "ollama",
    "/api/generate": "ollama",
}
_TOKENIZED = {
    _CHAT: ("vllm", "llamacpp"),
    _TEXT: ("vllm", "llamacpp"),
    _RESPONSES: ("llamacpp",),
    _MESSAGES: ("vllm", "llamacpp", "anthropic"),
}
_OWN = ("vllm", "llamacpp", "ollama")
# Keys and types of what is no text, in OpenAI's messages and vLLM's own. In a JSON string the quotes would be escaped.
_MEDIA = re.compile(rb'"(?:image|audio|video|file|input_audio|input_image)(?:_url|_embeds|_pil)?"')
_TRUE, _FALSE, _ONE = Raw(b"true"), Raw(b"false"), Raw(b"1")


def is_askable(sent: Sent, *, may_ask_again: bool) -> bool:
    """Whether there is anything to ask an engine of this kind, before the body is looked at."""
    has_tokenizer = sent.kind in _TOKENIZED.get(sent.path, ())
    return (has_tokenizer or (may_ask_again and sent.kind in _OWN)) and (
        sent.path in _DIALECTS and len(sent.body) <= MAX_BODY_BYTES
    )


def first_question(sent: Sent) -> Reading:
    """What to ask the engine's own tokenizer; the count itself if that needs no asking."""
    fields = _fields(sent.body)
    if not fields or sent.kind not in _TOKENIZED.get(sent.path, ()):
        return None
    match sent.kind, sent.path:
        case _, "/v1/messages":
            return _messages(sent, fields)
        case "vllm", "/v1/chat/completions":
            return _vllm_chat(sent.body, fields)
        case "vllm", "/v1/completions":
            return _vllm_text(fields)
        case "llamacpp", "/v1/chat/completions":
            return _llamacpp_chat(sent.body)
        case "llamacpp", "/v1/completions":
            return _llamacpp_texts(_prompts(fields))
        case "llamacpp", "/v1/responses":
            return Question("/v1/responses/input_tokens", sent.body, _reader(_input_tokens))
    return None


def ask_again(sent: Sent) -> Question | None:
    """The same request for one token, not streamed: its usage says how long the prompt is. Of engines of one's own
    only, where it costs a prefill that the prefix cache mostly spares; a cloud would be paid for it."""
    fields = _fields(sent.body)
    dialect = _DIALECTS.get(sent.path)
    if dialect is None or sent.kind not in _OWN or not fields:
        return None
    for name in ("stream_options", "max_completion_tokens", "n", "best_of", "logprobs", "top_logprobs"):
        fields.pop(name, None)
    fields["stream"] = _FALSE
    if dialect == "ollama":
        options: _Fields = {**_fields(fields.get("options")), "num_predict": _ONE}
        fields["options"] = Raw(msgspec.json.encode(options))
    else:
        fields["max_output_tokens" if dialect == "responses" else "max_tokens"] = _ONE

    def read(status: int, body: bytes) -> Reading:
        usage = read_document_usage(body, dialect) if status == 200 else None
        # Ollama before 0.2.2 says nothing, or 0, of a prompt that it had in its cache.
        return (usage.prompt_tokens or None) if usage is not None else None

    return Question(sent.path, msgspec.json.encode(fields), read)


# Anthropic's dialect

# What the reference lists for counting; Anthropic refuses whatever else a message has.
_COUNTED = frozenset({"messages", "model", "system", "thinking", "tool_choice", "tools", "output_config"})


def _messages(sent: Sent, fields: _Fields) -> Question | None:
    """llama.cpp and vLLM have had versions that count a picture as its mark; which one this is nobody says."""
    if sent.kind != "anthropic" and _MEDIA.search(sent.body) is not None:
        return None
    counted = {name: value for name, value in fields.items() if name in _COUNTED}
    return Question("/v1/messages/count_tokens", msgspec.json.encode(counted), _reader(_input_tokens))


# vLLM


def _vllm_chat(body: bytes, fields: _Fields) -> Question:
    has_media = _MEDIA.search(body) is not None

    def read(status: int, answer: bytes) -> Reading:
        """Without this route a text is tokenized as it would be answered, but a picture may count as its mark."""
        count = _read(_token_ids, status, answer)
        return _vllm_chat_before(fields) if count is None and not has_media else count

    return Question("/v1/chat/completions/render", _rendered(fields), read)


def _rendered(fields: _Fields) -> bytes:
    """`return_mm_kwargs`: or the pictures themselves come back."""
    wanted = {name: value for name, value in fields.items() if name not in ("stream", "stream_options")}
    return msgspec.json.encode({**wanted, "return_mm_kwargs": _FALSE})


_OF_TEMPLATES = (
    "model", "messages", "tools", "add_generation_prompt", "continue_final_message", "add_special_tokens",
    "chat_template", "mm_processor_kwargs",
)  # fmt: skip
# A chat hands these to its template, over what `chat_template_kwargs` says of them.
_TEMPLATE_VARIABLES = ("documents", "reasoning_effort")


def _vllm_chat_before(fields: _Fields) -> Question | None:
    if "truncate_prompt_tokens" in fields:
        return None
    wanted = {name: fields[name] for name in _OF_TEMPLATES if name in fields}
    variables = _fields(fields.get("chat_template_kwargs"))
    variables |= {
        name: fields[name] for name in _TEMPLATE_VARIABLES if name in fields and bytes(fields[name]) != b"null"
    }
    if variables:
        wanted["chat_template_kwargs"] = Raw(msgspec.json.encode(variables))
    return Question("/tokenize", msgspec.json.encode(wanted), _reader(_count))


def _vllm_text(fields: _Fields) -> Question:
    def read(status: int, answer: bytes) -> Reading:
        count = _read(_token_ids_of_all, status, answer)
        if count is not None or "truncate_prompt_tokens" in fields or "prompt_embeds" in fields:
            return count
        same: _Fields = {name: fields[name] for name in ("model", "add_special_tokens") if name in fields}
        return _tokenized(_prompts(fields), lambda text: {**same, "prompt": text}, _count)

    return Question("/v1/completions/render", _rendered(fields), read)


# llama.cpp


def _llamacpp_chat(body: bytes) -> Question:
    has_media = _MEDIA.search(body) is not None

    def read(status: int, answer: bytes) -> Reading:
        """The templated text has only a mark where a picture is."""
        count = _read(_input_tokens, status, answer)
        return Question("/apply-template", body, read_prompt) if count is None and not has_media else count

    def read_prompt(status: int, answer: bytes) -> Reading:
        if status != 200:
            return None
        prompt = _fields(answer).get("prompt")
        return None if prompt is None else _llamacpp_texts([prompt])

    return Question("/v1/chat/completions/input_tokens", body, read)


def _llamacpp_texts(prompts: "Sequence[Raw | int] | None") -> Reading:
    """As a completion does it, and a chat with what its template made: special tokens are added and parsed."""
    return _tokenized(
        prompts, lambda text: {"content": text, "add_special": _TRUE, "parse_special": _TRUE}, _token_list
    )


# Texts, one after the other


def _prompts(fields: _Fields) -> list[Raw | int] | None:
    """A completion's prompts: texts, as they stand in the body, or of token ids how many. None: something else."""
    prompt = fields.get("prompt")
    if prompt is None:
        return None
    if _is_text(prompt):
        return [prompt]
    try:
        parts = _decode_list(prompt)
        if any(_is_text(part) for part in parts):
            return list(parts) if all(_is_text(part) for part in parts) else None
        if any(bytes(part)[:1] == b"[" for part in parts):
            return [len(_decode_ids(part)) for part in parts]
        return [len(_decode_ids(prompt))]
    except UNREADABLE:
        return None


def _is_text(value: Raw) -> bool:
    return bytes(memoryview(value)[:1]) == b'"'


def _tokenized(
    prompts: "Sequence[Raw | int] | None",
    write: Callable[[Raw], _Fields],
    count: Callable[[bytes], int],
    counted_tokens: int = 0,
) -> Reading:
    """The sum over all prompts: the texts are asked for in turn, what are tokens already is not."""
    for number, prompt in enumerate(prompts or ()):
        if not isinstance(prompt, int):
            return _tokenize(prompt, (prompts or ())[number + 1 :], write, count, counted_tokens)
        counted_tokens += prompt
    return None if prompts is None else counted_tokens


def _tokenize(
    text: Raw,
    rest: "Sequence[Raw | int]",
    write: Callable[[Raw], _Fields],
    count: Callable[[bytes], int],
    counted_tokens: int,
) -> Question:
    def read(status: int, body: bytes) -> Reading:
        tokens = _read(count, status, body)
        return None if tokens is None else _tokenized(rest, write, count, counted_tokens + tokens)

    return Question("/tokenize", msgspec.json.encode(write(text)), read)


# What engines say


class _Counted(msgspec.Struct, gc=False):
    count: Count


class _InputTokens(msgspec.Struct, gc=False):
    input_tokens: Count


class _TokenList(msgspec.Struct, gc=False):
    tokens: list[int]


class _TokenIds(msgspec.Struct, gc=False):
    token_ids: list[int]


_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_ids = msgspec.json.Decoder(list[int]).decode
_decode_count = msgspec.json.Decoder(_Counted).decode
_decode_input_tokens = msgspec.json.Decoder(_InputTokens).decode
_decode_token_list = msgspec.json.Decoder(_TokenList).decode
_decode_token_ids = msgspec.json.Decoder(_TokenIds).decode
_decode_all_token_ids = msgspec.json.Decoder(list[_TokenIds]).decode


def _count(body: bytes) -> int:
    return _decode_count(body).count


def _input_tokens(body: bytes) -> int:
    return _decode_input_tokens(body).input_tokens


def _token_list(body: bytes) -> int:
    return len(_decode_token_list(body).tokens)


def _token_ids(body: bytes) -> int:
    return len(_decode_token_ids(body).token_ids)


def _token_ids_of_all(body: bytes) -> int:
    return sum(len(each.token_ids) for each in _decode_all_token_ids(body))


def _read(count: Callable[[bytes], int], status: int, body: bytes) -> int | None:
    try:
        return count(body) if status == 200 else None
    except UNREADABLE:
        return None


def _reader(count: Callable[[bytes], int]) -> Callable[[int, bytes], Reading]:
    return lambda status, body: _read(count, status, body)


def _fields(raw: Raw | bytes | None) -> _Fields:
    try:
        return {} if raw is None else _decode_fields(raw)
    except UNREADABLE:
        return {}
