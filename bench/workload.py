"""Pure. The requests a load generator sends: bytes of a whole HTTP request, built once and sent many times."""

from dataclasses import dataclass, replace

import msgspec

PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "ollama_chat": "/api/chat",
    "ollama_generate": "/api/generate",
    "embeddings": "/v1/embeddings",
    "messages": "/v1/messages",
}
# The OpenAI Python SDK's request head, so that parsing costs what it costs with the real one.
_SDK_HEADERS = (
    "Accept: application/json\r\nAccept-Encoding: identity\r\nConnection: keep-alive\r\n"
    "Content-Type: application/json\r\n"
    "User-Agent: OpenAI/Python 2.11.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 2.11.0\r\n"
    "X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
    "X-Stainless-Runtime-Version: 3.11.2\r\nX-Stainless-Async: false\r\nx-stainless-retry-count: 0\r\n"
)
_PROMPT = "The quick brown fox jumps over the lazy dog and then it runs home again. "


@dataclass(frozen=True, slots=True)
class RequestSpec:
    operation: str = "chat"
    model: str = "mock-8b"
    stream: bool = False
    max_tokens: int = 24
    prompt_bytes: int = 400
    include_usage: bool = False
    key: str = ""
    host: str = "127.0.0.1"


def encode_body(spec: RequestSpec) -> bytes:
    prompt = (_PROMPT * (spec.prompt_bytes // len(_PROMPT) + 1))[: spec.prompt_bytes]
    messages = [{"role": "user", "content": prompt}]
    if spec.operation.startswith("ollama"):
        body: dict[str, object] = {
            "model": spec.model,
            "stream": spec.stream,
            "options": {"num_predict": spec.max_tokens},
        }
        return msgspec.json.encode(
            body | ({"messages": messages} if spec.operation == "ollama_chat" else {"prompt": prompt})
        )
    if spec.operation == "embeddings":
        return msgspec.json.encode({"model": spec.model, "input": prompt})
    body = {"model": spec.model, "max_tokens": spec.max_tokens, "stream": spec.stream}
    body |= {"prompt": prompt} if spec.operation == "completions" else {"messages": messages}
    if spec.stream and spec.include_usage:
        body["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(body)


def encode_request(spec: RequestSpec) -> bytes:
    body = encode_body(spec)
    key = f"Authorization: Bearer {spec.key}\r\n" if spec.key else ""
    line = f"POST {PATHS[spec.operation]} HTTP/1.1\r\nHost: {spec.host}\r\n"
    return f"{line}{_SDK_HEADERS}{key}Content-Length: {len(body)}\r\n\r\n".encode() + body


def encode_get(path: str, host: str, key: str = "") -> bytes:
    auth = f"Authorization: Bearer {key}\r\n" if key else ""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n".encode()


def pad_request(spec: RequestSpec, size_bytes: int) -> bytes:
    """`encode_request` with the prompt sized so that the whole request, head included, is about `size_bytes` long."""
    bare = len(encode_request(replace(spec, prompt_bytes=0)))
    return encode_request(replace(spec, prompt_bytes=max(1, size_bytes - bare)))
