"""Streams as engines send them, event by event. Sources: vLLM's and llama.cpp's servers, the OpenAI API reference
(`stream_options`), ollama docs/api.md (all 2026), shortened in their texts only."""

from dataclasses import dataclass

from mrproxy.canonical.exchange import Usage

_CHAT = b'"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"m"'
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Golden:
    """`cut` is the number of the event that a caller who did not ask must not see; None where nothing may be cut."""

    events: tuple[bytes, ...]
    usage: Usage
    cut: int | None

    @property
    def data(self) -> bytes:
        return b"".join(self.events)

    @property
    def without_cut(self) -> bytes:
        return b"".join(event for number, event in enumerate(self.events) if number != self.cut)


def _chat(rest: bytes) -> bytes:
    return b"data: {%b,%b}\n\n" % (_CHAT, rest)


VLLM = Golden(
    (
        _chat(
            b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
        ),
        _chat(b'"choices":[{"index":0,"delta":{"content":"Hel"},"logprobs":null,"finish_reason":null}]'),
        _chat(b'"choices":[{"index":0,"delta":{"content":"lo \\"usage\\""},"logprobs":null,"finish_reason":null}]'),
        _chat(
            b'"choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null}]'
        ),
        _chat(b'"choices":[],"usage":{"prompt_tokens":11,"total_tokens":14,"completion_tokens":3}'),
        _DONE,
    ),
    Usage(11, 3),
    4,
)
VLLM_COMPLETIONS = Golden(
    (
        b'data: {"id":"cmpl-1","choices":[{"index":0,"text":"Hel","finish_reason":null}],"usage":null}\n\n',
        b'data: {"id":"cmpl-1","choices":[{"index":0,"text":"lo","finish_reason":"stop"}],"usage":null}\n\n',
        b'data: {"id":"cmpl-1","choices":[],"usage":{"prompt_tokens":4,"total_tokens":6,"completion_tokens":2}}\n\n',
        _DONE,
    ),
    Usage(4, 2),
    2,
)
OPENAI = Golden(
    (
        _chat(b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null'),
        _chat(b'"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null,"obfuscation":"x7"'),
        _chat(b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null,"obfuscation":"pq"'),
        _chat(
            b'"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":1,"total_tokens":9,"prompt_tokens_details":'
            b'{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}'
        ),
        _DONE,
    ),
    Usage(8, 1),
    3,
)
CRLF = Golden(tuple(event.replace(b"\n", b"\r\n") for event in OPENAI.events), OPENAI.usage, OPENAI.cut)
PINGED = Golden(
    (b": ping - 2026-11-21 00:00:00\n\n", b"retry: 3000\n\n", *VLLM.events, b": bye\n\n"), VLLM.usage, 6
)  # sse-starlette, under llama-cpp-python
LLAMACPP = Golden(
    (
        _chat(b'"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}]'),
        _chat(b'"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hi"}}]'),
        _chat(
            b'"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"usage":{"completion_tokens":1,'
            b'"prompt_tokens":5,"total_tokens":6},"timings":{"prompt_n":5,"predicted_n":1}'
        ),
        _DONE,
    ),
    Usage(5, 1),
    None,  # usage stands on the last choice: nothing may be cut
)
SSE = {
    "vLLM chat": VLLM,
    "vLLM completions": VLLM_COMPLETIONS,
    "OpenAI": OPENAI,
    "CRLF": CRLF,
    "with pings": PINGED,
    "llama.cpp": LLAMACPP,
}

OLLAMA_CHAT = Golden(
    (
        b'{"model":"m","created_at":"2026-11-21T00:00:00Z","message":{"role":"assistant","content":"Hel"},"done":false}\n',
        b'{"model":"m","created_at":"2026-11-21T00:00:01Z","message":{"role":"assistant","content":"eval_count\\""},'
        b'"done":false}\n',
        b'{"model":"m","created_at":"2026-11-21T00:00:02Z","message":{"role":"assistant","content":""},"done":true,'
        b'"done_reason":"stop","total_duration":5,"load_duration":1,"prompt_eval_count":26,"prompt_eval_duration":1,'
        b'"eval_count":2,"eval_duration":3}\n',
    ),
    Usage(26, 2),
    None,
)
OLLAMA_CACHED = Golden(
    (OLLAMA_CHAT.events[0], b'{"model":"m","response":"","done":true,"eval_count":1,"eval_duration":3}\n'),
    Usage(None, 1),
    None,
)
NDJSON = {"Ollama chat": OLLAMA_CHAT, "Ollama without a prompt count": OLLAMA_CACHED}
