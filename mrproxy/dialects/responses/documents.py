"""Pure. The response object and its output items, as the API writes them.

Source: OpenAI API reference, "The response object" (2026); the SDK's `openai/types/responses/response.py`.
Reasoning is that of open models: its text in `content` as `reasoning_text`, no summary, as OpenAI asks of servers of
gpt-oss (OpenAI Cookbook, "How to handle the raw chain of thought in gpt-oss", 2025) and as vLLM does.
"""

from typing import TypeAlias

import msgspec

from mrproxy.canonical.deltas import TokenReport


class TopLogprob(msgspec.Struct):
    token: str
    bytes: list[int]
    logprob: float


class TokenLogprob(msgspec.Struct):
    token: str
    bytes: list[int]
    logprob: float
    top_logprobs: list[TopLogprob]


class OutputText(msgspec.Struct, tag="output_text", tag_field="type"):
    text: str
    annotations: tuple[()] = ()
    logprobs: list[TokenLogprob] = []


class OutputRefusal(msgspec.Struct, tag="refusal", tag_field="type"):
    refusal: str


class ReasoningText(msgspec.Struct, tag="reasoning_text", tag_field="type"):
    text: str


OutputPart: TypeAlias = OutputText | OutputRefusal | ReasoningText


class MessageItem(msgspec.Struct, tag="message", tag_field="type"):
    id: str
    status: str
    content: list[OutputText | OutputRefusal]
    role: str = "assistant"


class ReasoningItem(msgspec.Struct, tag="reasoning", tag_field="type"):
    id: str
    status: str
    content: list[ReasoningText]
    encrypted_content: str | None = None
    summary: tuple[()] = ()


class FunctionCallItem(msgspec.Struct, tag="function_call", tag_field="type"):
    id: str
    status: str
    call_id: str
    name: str
    arguments: str


OutputItem: TypeAlias = MessageItem | ReasoningItem | FunctionCallItem


class InputTokensDetails(msgspec.Struct):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(msgspec.Struct):
    reasoning_tokens: int


class Usage(msgspec.Struct):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class IncompleteDetails(msgspec.Struct):
    reason: str | None


class Error(msgspec.Struct):
    code: str
    message: str


NO_REASONING = msgspec.Raw(b'{"effort":null,"summary":null}')
PLAIN_TEXT = msgspec.Raw(b'{"format":{"type":"text"}}')
AUTO = msgspec.Raw(b'"auto"')
NO_TOOLS = msgspec.Raw(b"[]")


class Echo(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer repeats of its request, with the API's defaults for what was not said."""

    background: bool = False
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: dict[str, str] = {}
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    reasoning: msgspec.Raw = NO_REASONING
    safety_identifier: str | None = None
    service_tier: str = "default"
    store: bool = True
    temperature: float | None = None
    text: msgspec.Raw = PLAIN_TEXT
    tool_choice: msgspec.Raw = AUTO
    tools: msgspec.Raw = NO_TOOLS
    top_logprobs: int = 0
    top_p: float | None = None
    truncation: str = "disabled"
    user: str | None = None


class ConversationReference(msgspec.Struct, frozen=True):
    id: str


class Response(Echo, frozen=True, kw_only=True):
    """`GET /v1/responses/{id}`, and what a stream's first and last events carry."""

    id: str
    object: str = "response"
    created_at: int
    status: str
    error: Error | None = None
    incomplete_details: IncompleteDetails | None = None
    model: str
    output: list[OutputItem] = []
    usage: Usage | None = None
    conversation: ConversationReference | msgspec.UnsetType = msgspec.UNSET


def make_usage(tokens: TokenReport | None) -> Usage | None:
    """None where the engine counted nothing."""
    if tokens is None or (tokens.prompt_tokens is None and tokens.completion_tokens is None):
        return None
    prompt, completion = tokens.prompt_tokens or 0, tokens.completion_tokens or 0
    return Usage(
        prompt,
        InputTokensDetails(tokens.cached_tokens or 0, tokens.cache_write_tokens or 0),
        completion,
        OutputTokensDetails(tokens.reasoning_tokens or 0),
        prompt + completion,
    )
